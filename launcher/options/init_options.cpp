#include "launcher/options/init_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, InitOptions& options) {
  CLI::App* command =
      app.add_subcommand("init", "Write a model folder with fresh weights (diffusers layout)");
  command->add_option("--preset", options.preset, "Shape: tiny (the demo's) or sd15")
      ->required()
      ->check(CLI::IsMember({"tiny", "sd15"}));
  command->add_option("DIR", options.folder, "Folder to write; must not be there yet, or be empty")
      ->required();
  command->add_option("--seed", options.seed, "The weights are a function of it")
      ->capture_default_str();
  command->add_option("--tokenizer", options.tokenizer,
                      "Folder with vocab.json and merges.txt (default: models/clip-tokenizer)");
  command->footer("Example: kessoku init --preset tiny models/fresh");
  return command;
}

}  // namespace kessoku::launcher
