#pragma once

#include "data/loading/loader.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// How a rank reads its batches from step `first_step` on. `model` and `config` must outlive the
/// loader.
data::LoaderOptions loader_options(const RunConfig& config, const model::StableDiffusion& model,
                                   uint64_t first_step, const Communicator& communicator);

}  // namespace kessoku::runtime
