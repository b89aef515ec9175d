#pragma once

#include <cstdint>
#include <string>

#include "launcher/options/model_options.h"

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku forward` is asked for.
struct ForwardOptions {
  std::string module, input, output;
  ModelOptions model;
  std::string dtype = "fp32";
  int64_t clip_skip = 0;
};

/// Adds `kessoku forward` with its options and help to `app`.
CLI::App* declare(CLI::App& app, ForwardOptions& options);

}  // namespace kessoku::launcher
