#pragma once

#include "model/diffusion/sigma_grid.h"

namespace kessoku::model {

/// Where the steps of a solver that thinks in whole training timesteps stand: by default "leading",
/// each a stride below the one before.
class TimestepLadder {
 public:
  /// `alpha_to_one`: whether ᾱ below timestep 0 is 1, if the model's scheduler_config.json has no
  /// set_alpha_to_one; else it is that of timestep 0. Throws UsageError where steps_offset leads
  /// past the schedule's end.
  TimestepLadder(const NoiseSchedule& schedule, int64_t steps, bool alpha_to_one);

  int64_t steps() const { return static_cast<int64_t>(timesteps_.size()); }
  int64_t timestep(int64_t i) const { return timesteps_[static_cast<size_t>(i)]; }
  /// What a step goes down by.
  int64_t stride() const { return stride_; }
  Scales scales(int64_t timestep) const;
  bool velocity() const { return velocity_; }

 private:
  Reals alphas_;
  bool velocity_;
  int64_t stride_;
  double last_alpha_;
  std::vector<int64_t> timesteps_;
};

}  // namespace kessoku::model
