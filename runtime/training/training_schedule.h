#pragma once

#include <utility>

#include "model/diffusion/noise_schedule_config.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Changes the model's noise schedule to what `config.train` asks for; checkpoints then say so.
/// Throws UsageError if the two do not go together.
void set_training_schedule(const RunConfig& config, model::NoiseScheduleConfig& schedule);

/// Sets train.steps to what train.passes asks for, if it is set: the steps in which so many passes
/// of `pass_draws` are drawn, rounded up. Throws UsageError for more than 10⁹.
void resolve_steps(RunConfig& config, uint64_t pass_draws);

/// The timesteps that are drawn: the first, and one past the last. Throws UsageError if the
/// schedule has not so many.
std::pair<int64_t, int64_t> trained_timesteps(const RunConfig& config,
                                              const model::NoiseScheduleConfig& schedule);

}  // namespace kessoku::runtime
