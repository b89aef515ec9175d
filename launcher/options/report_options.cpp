#include "launcher/options/report_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, ReportOptions& options) {
  CLI::App* command = app.add_subcommand("report",
                                         "One self-contained HTML page of a run: curves, mixture "
                                         "asked for and got, images over time");
  command->footer("Example: kessoku report runs/demo   (prints runs/demo/report.html)");
  command->add_option("RUN_DIR", options.run, "Run folder, as written by kessoku train")
      ->required();
  return command;
}

}  // namespace kessoku::launcher
