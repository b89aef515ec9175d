#pragma once

#include <string>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku keys` is asked for.
struct KeysArguments {
  std::string pattern;
  bool json = false, markdown = false, schema = false;
};

/// Adds `kessoku keys` with its options and help to `app`.
CLI::App* declare(CLI::App& app, KeysArguments& options);

}  // namespace kessoku::launcher
