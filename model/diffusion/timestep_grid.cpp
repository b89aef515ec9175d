#include "model/diffusion/timestep_grid.h"

#include <cmath>

#include "base/error.h"

namespace kessoku::model {

TimestepLadder::TimestepLadder(const NoiseSchedule& schedule, int64_t steps, bool alpha_to_one)
    : alphas_(alphas_cumprod(schedule)),
      velocity_(schedule.config().prediction_type == "v_prediction"),
      stride_(schedule.config().num_train_timesteps / steps),
      last_alpha_(schedule.config().set_alpha_to_one.value_or(alpha_to_one) ? 1 : alphas_[0]) {
  for (const double timestep :
       space_timesteps(schedule.config(), steps, "leading", /*spare_point=*/false)) {
    timesteps_.push_back(static_cast<int64_t>(std::nearbyint(timestep)));  // ties to even
  }
  if (timesteps_.front() >= static_cast<int64_t>(alphas_.size())) {
    throw UsageError(
        fmt::format("{} steps from timestep {}: the noise schedule ends at {} (steps_offset is {})",
                    steps, timesteps_.front(), alphas_.size() - 1, schedule.config().steps_offset));
  }
}

Scales TimestepLadder::scales(int64_t timestep) const {
  const double alpha = timestep < 0
                           ? last_alpha_
                           : alphas_[std::min(static_cast<size_t>(timestep), alphas_.size() - 1)];
  return {std::sqrt(alpha), std::sqrt(1 - alpha)};
}

}  // namespace kessoku::model
