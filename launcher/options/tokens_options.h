#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/options/model_options.h"

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku tokens` is asked for.
struct TokensOptions {
  ModelOptions model;
  std::vector<std::string> texts;
  std::string file, store;
  int64_t chunks = 1;
  bool compare = false, json = false;
};

/// Adds `kessoku tokens` with its options and help to `app`.
CLI::App* declare(CLI::App& app, TokensOptions& options);

}  // namespace kessoku::launcher
