#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// The schedules that there are, in alphabetical order; a test holds them against the words that
/// optimizer.schedule takes.
std::vector<std::string> lr_schedule_names();

/// Learning rate of `step` (0, 1, …) as a factor of the peak, as diffusers' get_scheduler: up
/// linearly from 0 over `warmup_steps`, then as `config.schedule` says until `total`.
double lr_factor(const RunConfig::Optimizer& config, uint64_t step, uint64_t total);

}  // namespace kessoku::runtime
