#pragma once

#include <string>

#include "launcher/options/model_options.h"

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku convert` is asked for.
struct ConvertOptions {
  ModelOptions source;
  std::string destination, dtype, part;
  bool bin = false, force = false;
};

/// Adds `kessoku convert` with its options and help to `app`.
CLI::App* declare(CLI::App& app, ConvertOptions& options);

}  // namespace kessoku::launcher
