#include "launcher/options/report_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, ReportOptions& options) {
  CLI::App* command = app.add_subcommand("report",
                                         "One self-contained HTML page of a run: curves, mixture "
                                         "asked for and got, images over time");
  command->footer(
      "Examples: kessoku report runs/demo           (prints runs/demo/report.html)\n"
      "          kessoku report runs/a runs/b        (side by side: runs/a/comparison.html)");
  command->add_option("RUN_DIR", options.runs, "Run folders, as written by kessoku train")
      ->required();
  return command;
}

}  // namespace kessoku::launcher
