#pragma once

#include "runtime/training/trainer.h"

namespace kessoku::runtime {

/// What is wrong with weights that are to be written, for people ("unet.conv_in.bias holds …");
/// empty: nothing.
struct WeightProblems {
  std::string not_finite;  ///< these weights are of no use to anyone
  std::string too_large;   ///< finite, but not in the dtype asked for
};

/// Of the weights of all ranks and, with EMA, their averages. Collective.
WeightProblems check_weights(Trainer& trainer, at::ScalarType dtype, Communicator& communicator);

/// Of these, on this rank.
WeightProblems check_weights(const model::Parameters& parameters, at::ScalarType dtype);

}  // namespace kessoku::runtime
