#pragma once

#include <string>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku inspect` is asked for.
struct InspectArguments {
  std::string path, config;
  bool json = false, tensors = false, verify = false, captions = false;
  int threads = 0;
};

/// Adds `kessoku inspect` with its options and help to `app`.
CLI::App* declare(CLI::App& app, InspectArguments& options);

}  // namespace kessoku::launcher
