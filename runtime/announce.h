#pragma once

#include "data/sampler.h"
#include "model/stable_diffusion.h"
#include "runtime/communicator.h"
#include "runtime/run_folder.h"
#include "runtime/trainer.h"

namespace kessoku::runtime {

/// Throws UsageError, naming the keys, unless the store holds what `config` trains on, made with
/// this model's VAE.
void require_fit(const RunConfig& config, const data::Store& store,
                 const model::StableDiffusion& model);

/// Tells on stderr what will happen: the resolved configuration, sizes, how the batch is split,
/// where the run goes on, warnings (captions that are cut among them).
void announce(const RunConfig& config, const RunFolder& folder, const data::Store& store,
              const data::Mixture& mixture, const data::Sampler& sampler,
              const model::Tokenizer& tokenizer, Trainer& trainer,
              const Communicator& communicator);

}  // namespace kessoku::runtime
