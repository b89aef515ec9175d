#include "launcher/options/keys_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, KeysArguments& options) {
  CLI::App* command =
      app.add_subcommand("keys", "List the keys of a run file: default, allowed values, meaning");
  command->add_option("PATTERN", options.pattern,
                      "Only keys with this in their name; * stands for anything");
  CLI::Option* json = command->add_flag("--json", options.json, "Print JSON");
  CLI::Option* markdown =
      command->add_flag("--markdown", options.markdown, "Print the table of docs/run-file.md");
  CLI::Option* schema = command->add_flag("--schema", options.schema,
                                          "Print the JSON Schema (configs/run-file.schema.json)");
  json->excludes(markdown)->excludes(schema);
  markdown->excludes(schema);
  command->footer(
      "Example: kessoku keys optimizer\n"
      "On resume: free = may change, recorded = may change and is reported, refused = needs\n"
      "--allow-change, fixed = needs a new run.");
  return command;
}

}  // namespace kessoku::launcher
