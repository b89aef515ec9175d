#pragma once

#include "data/loading/validation_set.h"
#include "runtime/communication/communicator.h"
#include "runtime/training/loss.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

/// Mean loss over the held-out examples, with the weights that would be published; the same noise
/// and timesteps each time, so that only the weights make a difference. Collective.
double validation_loss(const data::ValidationSet& set, Objective& objective, Trainer& trainer,
                       Communicator& communicator);

}  // namespace kessoku::runtime
