#include "launcher/options/model_options.h"

#include <CLI/CLI.hpp>

namespace kessoku::launcher {

void add_device_option(CLI::App& command, std::string& device) {
  command
      .add_option("--device", device,
                  "cpu, cuda, or auto: a GPU if there is one (KESSOKU_DEVICE says otherwise)")
      ->check(CLI::IsMember({"auto", "cuda", "cpu"}))
      ->capture_default_str();
}

void add_vae_options(CLI::App& command, ModelOptions& options) {
  command.add_option("--config", options.config,
                     "Model folder whose configs and tokenizer a lone weight file takes (default: "
                     "Stable Diffusion 1.5's)");
  command.add_option("--vae", options.vae, "Folder or file of a VAE to use instead of the model's");
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  add_vae_options(command, options);
  command.add_flag("--ema", options.ema,
                   "Take the moving averages of a lone file's UNet, not its last weights");
}

}  // namespace kessoku::launcher
