#pragma once

#include <filesystem>

#include "runtime/planning/step_time_model.h"

namespace kessoku::runtime {

/// What a rank's step took in a run, or what one is told.
struct MeasuredCosts {
  StepCosts costs;
  uint64_t micro_batch = 1;  ///< draws of a forward and backward
  double own_share = 1;      ///< of all parameters, that a rank steps

  /// The same for another micro-batch and share, in proportion.
  StepCosts scaled_to(uint64_t draws, double share) const;
};

/// Medians over the log of a run folder but its first steps, as rank 0 wrote it. Throws UsageError
/// if there is no log or no checkpoint, which says how many ranks there were.
MeasuredCosts costs_of_run(const std::filesystem::path& run);

}  // namespace kessoku::runtime
