#include "launcher/options/top_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, TopOptions& options) {
  CLI::App* command = app.add_subcommand(
      "top", "Show the state of a run by its folder and its exporters, each second anew");
  command->add_option("RUN_DIR", options.run, "Run folder, as written by kessoku train")
      ->required();
  command->add_flag("--once", options.once, "Print it once, as where stdout is no terminal");
  command->footer(
      "Example: kessoku top runs/demo\n"
      "Ctrl-C ends it; the run does not notice. It works from any host that sees the folder. "
      "Ranks\n"
      "are shown where their /metrics are within reach: on their own host, on others if\n"
      "metrics.address is open.");
  return command;
}

}  // namespace kessoku::launcher
