#pragma once

#include "data/images/bucket.h"
#include "data/loading/loader.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/images/sample_prompts.h"
#include "runtime/training/loss.h"

namespace kessoku::runtime {

/// The networks of a model without their weights, as a run trains them: on the meta device, whose
/// tensors have shapes alone. `config` must outlive them.
class MetaNetworks {
 public:
  MetaNetworks(const RunConfig& config, const model::StableDiffusion& model);

  const model::Parameters& trained() const { return trained_; }
  Objective& objective() { return *objective_; }
  data::Batch batch(const data::Bucket& bucket, uint64_t micro) const;
  /// As make_images does.
  void sample(const GenerationSize& size) const;

 private:
  int64_t tokens() const;

  const RunConfig& config_;
  model::UNet unet_;
  model::TextEncoder text_encoder_;
  model::Vae vae_;
  model::Parameters trained_;
  std::unique_ptr<Objective> objective_;
};

/// The one with most pixels.
const data::Bucket& largest_of(const std::vector<data::Bucket>& buckets);

}  // namespace kessoku::runtime
