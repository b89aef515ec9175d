#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/options/scaling_options.h"

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `kessoku plan` is asked for.
struct PlanArguments {
  std::string run_file, schedule;
  std::vector<std::string> overrides;
  uint64_t draws = 0;  ///< 0 = the whole run
  bool json = false, csv = false;
  ScalingOptions scaling;
};

/// Adds `kessoku plan` with its options and help to `app`.
CLI::App* declare(CLI::App& app, PlanArguments& options);

}  // namespace kessoku::launcher
