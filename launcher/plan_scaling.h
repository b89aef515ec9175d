#pragma once

#include <nlohmann/json.hpp>

#include "launcher/options/scaling_options.h"
#include "runtime/run/training_data.h"

namespace kessoku::launcher {

/// {"compute", "network", "gradients", …, "rows": [{"ranks", "micro_batch", "accumulation",
/// "seconds", "compute_seconds", "communication_seconds", "exposed_seconds", "samples_per_second",
/// "speed_up", "efficiency", "memory": {…}} or {"ranks", "problem"}]}. Loads the model, and trains
/// some steps of it for each number of ranks unless it is told what they take.
nlohmann::json plan_scaling(const runtime::RunConfig& config, const runtime::TrainingData& data,
                            const ScalingOptions& options);

}  // namespace kessoku::launcher
