#pragma once

#include <nlohmann/json.hpp>

#include "launcher/plan_scaling.h"

namespace kessoku::launcher {

/// "scaling" of `plan --json`: {"compute", "precision", "link", …, "rows": [{"ranks",
/// "micro_batch", "accumulation", "seconds", "compute_seconds", "communication_seconds",
/// "exposed_seconds", "samples_per_second", "efficiency", "memory": {…}} or {"ranks", "problem"}]}.
nlohmann::json to_json(const Scaling& scaling);

/// The same as tables for a person.
std::string scaling_table(const Scaling& scaling);

}  // namespace kessoku::launcher
