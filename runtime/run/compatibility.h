#pragma once

#include "data/store/store.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Throws UsageError, naming the keys, unless the store holds what `config` trains on, made with
/// this model's VAE.
void require_fit(const RunConfig& config, const data::Store& store,
                 const model::StableDiffusion& model);

}  // namespace kessoku::runtime
