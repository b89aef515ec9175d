#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace kessoku::launcher {

/// What `plan` is asked about other numbers of ranks.
struct ScalingOptions {
  std::vector<int> ranks;  ///< empty = nothing
  std::string link, latency = "10us", local_link, transport, compute;
  int ranks_per_host = 1;
  bool weak = false;
};

void add_scaling_options(CLI::App& command, ScalingOptions& options);

}  // namespace kessoku::launcher
