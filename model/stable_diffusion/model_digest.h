#pragma once

#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::model {

/// XXH3 over the weights and configs of all three networks and the noise schedule, as hex: what a
/// image depends on. Weights count as they are in memory, whatever file they came from.
std::string model_digest(const StableDiffusion& model);

}  // namespace kessoku::model
