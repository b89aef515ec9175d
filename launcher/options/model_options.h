#pragma once

#include <string>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// How a command line names a model.
struct ModelOptions {
  std::string path;  ///< a model folder, a lone weight file, or a run folder
  std::string config, vae;
  bool ema = false;
  std::string front_end;        ///< of the tokenizer; empty: as its folder says
  std::string device = "auto";  ///< where it computes: auto, cuda or cpu
};

/// Adds --device.
void add_device_option(CLI::App& command, std::string& device);
/// Adds --config and --vae.
void add_vae_options(CLI::App& command, ModelOptions& options);
/// Adds these and --ema.
void add_model_options(CLI::App& command, ModelOptions& options);

}  // namespace kessoku::launcher
