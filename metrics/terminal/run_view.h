#pragma once

#include <cstdint>
#include <string>

#include "metrics/run_follower.h"

namespace kessoku::metrics {

/// What a run's log and account do not tell.
struct RunSurroundings {
  std::string name;
  uint64_t planned_steps = 0;  ///< 0: not known
  uint64_t checkpoints = 0, checkpoint_step = 0;
  double checkpoint_time = 0;  ///< seconds since 1970; 0: there is none
};

/// The state of a run in some lines of text: where it stands, loss, pace, what its time goes to,
/// checkpoints, ranks, restarts. `now` is in seconds since 1970.
std::string describe_run(const RunFollower& run, const RunSurroundings& surroundings, double now);

}  // namespace kessoku::metrics
