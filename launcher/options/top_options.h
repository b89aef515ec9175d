#pragma once

#include <string>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku top` is asked for.
struct TopOptions {
  std::string run;  ///< folder
  bool once = false;
};

/// Adds `kessoku top` with its options and help to `app`.
CLI::App* declare(CLI::App& app, TopOptions& options);

}  // namespace kessoku::launcher
