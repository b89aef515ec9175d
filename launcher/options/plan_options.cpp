#include "launcher/options/plan_options.h"

#include <CLI/CLI.hpp>

#include "launcher/options/run_options.h"

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, PlanArguments& options) {
  CLI::App* command = app.add_subcommand(
      "plan",
      "Show what a run file would train on: shares, views, buckets; and how it would scale");
  add_run_file(*command, options);
  command->add_option("--draws", options.draws, "Plan so many draws instead of the whole run")
      ->check(CLI::PositiveNumber);
  CLI::Option* json = command->add_flag("--json", options.json, "Print JSON");
  command->add_flag("--csv", options.csv, "Print the folders as CSV")->excludes(json);
  command->add_option("--schedule", options.schedule, "Write every draw as CSV");
  add_scaling_options(*command, options.scaling);
  command->get_option("--ranks")->excludes(command->get_option("--csv"));
  command->footer(
      "Example: kessoku plan configs/demo.toml --schedule schedule.csv\n"
      "Example: kessoku plan configs/demo.toml --ranks 1,2,4 --link 10Gbit/s --latency 30us");
  return command;
}

}  // namespace kessoku::launcher
