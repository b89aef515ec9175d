#pragma once

#include <functional>
#include <memory>

#include "data/loading/loader.h"
#include "runtime/planning/allocation_tracker.h"
#include "runtime/planning/step_time_model.h"
#include "runtime/training/loss.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

struct StepProfile {
  StepCosts costs;               ///< medians
  int64_t activation_bytes = 0;  ///< the most that a step holds of tensors beside what stays
  int64_t batch_bytes = 0;       ///< of a micro-batch
  int64_t program_bytes = 0;     ///< the most of this process that was in memory, tensors apart
};

/// Makes the batches of a rank; `config` is that of the profile.
using LoaderMaker =
    std::function<std::unique_ptr<data::Loader>(const RunConfig& config, const Communicator&)>;

/// Trains some steps as rank 0 of `ranks`, of which there is none but this: the real trainer, with
/// a communicator that exchanges nothing and takes no time. One micro-batch a step, the first ones
/// of the run. So it measures what a rank computes and holds. `parameters` are trained; `memory`
/// must be older than they are.
StepProfile profile_steps(const RunConfig& config, int ranks, const model::Parameters& parameters,
                          Objective& objective, const data::Store& store,
                          const LoaderMaker& make_loader, AllocationTracker& memory);

}  // namespace kessoku::runtime
