#pragma once

#include "model/solver.h"

namespace kessoku::model {

std::unique_ptr<Solver> make_ddim(const NoiseSchedule& schedule, int64_t steps);
std::unique_ptr<Solver> make_euler(const NoiseSchedule& schedule, int64_t steps);
std::unique_ptr<Solver> make_dpmpp_2m(const NoiseSchedule& schedule, int64_t steps);

}  // namespace kessoku::model
