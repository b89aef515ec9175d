#include "metrics/report.h"

#include <fmt/format.h>

#include <memory>

#include "launcher/commands.h"

namespace kessoku::launcher {

void add_report_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("report",
                                         "One self-contained HTML page of a run: curves, mixture "
                                         "asked for and got, images over time");
  command->footer("Example: kessoku report runs/demo   (prints runs/demo/report.html)");
  const auto run = std::make_shared<std::string>();
  command->add_option("RUN_DIR", *run, "Run folder, as written by kessoku train")->required();
  command->callback([run] { fmt::print("{}\n", metrics::write_report(*run).string()); });
}

}  // namespace kessoku::launcher
