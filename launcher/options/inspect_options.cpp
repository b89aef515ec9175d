#include "launcher/options/inspect_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

CLI::App* declare(CLI::App& app, InspectArguments& options) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a store, model folder, weight file or run holds");
  command
      ->add_option("PATH", options.path,
                   "Store, model folder, checkpoint, run folder or weight file (.safetensors, "
                   ".ckpt, .pt, .bin)")
      ->required();
  command->add_option("--config", options.config,
                      "Model folder whose configs a lone weight file is compared with (default: "
                      "Stable Diffusion 1.5's)");
  command->add_flag("--tensors", options.tensors, "List all tensors of a weight file");
  command->add_flag("--verify", options.verify,
                    "Read a whole store, compare every row with its checksum, and name what is "
                    "damaged");
  command->add_flag("--captions", options.captions,
                    "List a store's images with the captions that it would train on");
  command->add_option("--threads", options.threads, "Threads of --verify (0: all cores)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", options.json, "Print JSON");
  command->footer("Examples: kessoku inspect store --json, kessoku inspect store --verify");
  return command;
}

}  // namespace kessoku::launcher
