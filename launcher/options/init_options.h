#pragma once

#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku init` is asked for.
struct InitOptions {
  std::string preset;
  std::string folder;
  std::string tokenizer;
  uint64_t seed = 0;
};

/// Adds `kessoku init` with its options and help to `app`.
CLI::App* declare(CLI::App& app, InitOptions& options);

}  // namespace kessoku::launcher
