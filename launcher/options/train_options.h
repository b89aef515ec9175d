#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku train` is asked for.
struct TrainOptions {
  std::string run_file;
  std::string out;
  std::string resume = "auto";
  std::vector<std::string> allowed_changes;
  std::vector<std::string> overrides;
  uint64_t profiled_steps = 0;
};

/// Adds `kessoku train` with its options and help to `app`.
CLI::App* declare(CLI::App& app, TrainOptions& options);

}  // namespace kessoku::launcher
