#pragma once

#include "data/loading/loader.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"

namespace kessoku::launcher {

/// What is not trained only computes in the run's precision; the trainer sees to the rest.
void round_untrained(const runtime::RunConfig& config, const model::Parameters& trained,
                     const model::StableDiffusion& model);

void use_gradient_checkpointing(bool on, model::StableDiffusion& model);

/// How a rank reads its batches from step `first_step` on. `model` and `config` must outlive the
/// loader.
data::LoaderOptions loader_options(const runtime::RunConfig& config,
                                   const model::StableDiffusion& model, uint64_t first_step,
                                   const runtime::Communicator& communicator);

}  // namespace kessoku::launcher
