#pragma once

#include "data/store/store.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Throws UsageError, naming the keys, unless the store keeps what `config` trains on and can be
/// drawn from as it says.
void require_store(const RunConfig& config, const data::Store& store);

/// The same, and that the model fits the run file and made the store.
void require_fit(const RunConfig& config, const data::Store& store,
                 const model::StableDiffusion& model);

}  // namespace kessoku::runtime
