#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "data/store/store.h"
#include "runtime/config/config.h"

namespace kessoku::launcher {

/// What `plan` is asked about other numbers of ranks.
struct ScalingOptions {
  std::vector<int> ranks;  ///< empty = nothing
  std::string link, latency = "10us", local_link, transport, compute;
  int ranks_per_host = 1;
  bool weak = false;
};

void add_scaling_options(CLI::App& command, ScalingOptions& options);

/// {"compute", "network", "gradients", …, "rows": [{"ranks", "micro_batch", "accumulation",
/// "seconds", "compute_seconds", "communication_seconds", "exposed_seconds", "samples_per_second",
/// "speed_up", "efficiency", "memory": {…}} or {"ranks", "problem"}]}. Loads the model, and trains
/// some steps of it for each number of ranks unless it is told what they take.
nlohmann::json plan_scaling(const runtime::RunConfig& config, const data::Store& store,
                            const ScalingOptions& options);

}  // namespace kessoku::launcher
