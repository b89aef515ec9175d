#pragma once

#include "data/loading/loader.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

/// Computes the loss of one more micro-batch, without training on it: whether the weights that the
/// last step made are of use is only seen by the next. Throws Diverged if it is not finite.
/// Collective.
void try_weights(data::Loader& loader, Objective& objective, Trainer& trainer,
                 Communicator& communicator);

}  // namespace kessoku::runtime
