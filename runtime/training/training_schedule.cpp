#include "runtime/training/training_schedule.h"

#include <cmath>

#include "base/error.h"

namespace kessoku::runtime {

void set_training_schedule(const RunConfig& config, model::NoiseScheduleConfig& schedule) {
  const RunConfig::Train& train = config.train;
  if (!train.prediction.empty()) schedule.prediction_type = train.prediction;
  if (!train.beta_schedule.empty()) schedule.beta_schedule = train.beta_schedule;
  if (!train.beta_range.empty()) {
    schedule.beta_start = train.beta_range[0];
    schedule.beta_end = train.beta_range[1];
  }
  if (train.zero_terminal_snr && !schedule.zero_terminal_snr) schedule.use_zero_terminal_snr();
  if (schedule.zero_terminal_snr && schedule.prediction_type == "epsilon" &&
      !config.trains("vae")) {
    throw UsageError(
        "train.zero_terminal_snr needs train.prediction = \"v_prediction\": in pure noise there is "
        "nothing to learn from predicting the noise");
  }
  trained_timesteps(config, schedule);  // throws early
}

void resolve_steps(RunConfig& config, uint64_t pass_draws) {
  const double passes = config.train.passes;
  if (passes == 0) return;
  const double steps = std::ceil(passes * static_cast<double>(pass_draws) /
                                 static_cast<double>(config.train.global_batch));
  if (steps > 1e9) {
    throw UsageError(fmt::format("train.passes = {}: {} draws a pass make {} steps; at most 10⁹",
                                 passes, pass_draws, steps));
  }
  config.train.steps = static_cast<uint64_t>(steps);
}

std::pair<int64_t, int64_t> trained_timesteps(const RunConfig& config,
                                              const model::NoiseScheduleConfig& schedule) {
  if (config.train.timesteps.empty()) return {0, schedule.num_train_timesteps};
  const int64_t first = config.train.timesteps[0], end = config.train.timesteps[1];
  if (end > schedule.num_train_timesteps) {
    throw UsageError(fmt::format("train.timesteps = [{}, {}]: the model's schedule ends at {}",
                                 first, end, schedule.num_train_timesteps));
  }
  return {first, end};
}

}  // namespace kessoku::runtime
