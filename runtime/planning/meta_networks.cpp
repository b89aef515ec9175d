#include "runtime/planning/meta_networks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <set>

#include "model/networks/meta_kernels.h"
#include "model/networks/vae_tiling.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

at::Tensor meta_tensor(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  return at::empty(shape, at::TensorOptions(dtype).device(at::kMeta));
}

}  // namespace

MetaNetworks::MetaNetworks(const RunConfig& config, const model::StableDiffusion& model)
    : config_(config),
      unet_(model.unet.config(), at::kMeta),
      text_encoder_(model.text_encoder.config(), at::kMeta),
      vae_(model.vae.config(), at::kMeta) {
  model::register_meta_kernels();
  const bool checkpointing = config.train.gradient_checkpointing;
  unet_.set_gradient_checkpointing(checkpointing);
  text_encoder_.set_gradient_checkpointing(checkpointing);
  vae_.set_gradient_checkpointing(checkpointing);
  std::set<std::string> names;
  for (const model::Parameter& parameter : trained_parameters(config, model))
    names.insert(parameter.name);
  model::Parameters rounded;
  const auto sort = [&](const std::string& part, const model::Parameters& parameters) {
    for (const model::Parameter& parameter : parameters) {
      const std::string name = part + "." + parameter.name;
      if (names.contains(name)) {
        trained_.push_back({name, parameter.tensor});
      } else if (part != "vae") {
        rounded.push_back(parameter);
      }
    }
  };
  sort("unet", unet_.parameters());
  sort("text_encoder", text_encoder_.parameters());
  sort("vae", vae_.parameters());
  model::convert_parameters(rounded, dtype_of(config));
  objective_ = config.trains("vae")
                   ? make_autoencoder_objective(vae_, config)
                   : make_denoising_objective(unet_, text_encoder_, vae_, model.schedule, config);
}

data::Batch MetaNetworks::batch(const data::Bucket& bucket, uint64_t micro) const {
  const auto draws = static_cast<int64_t>(micro);
  const int64_t scale = vae_.config().downscale();
  const bool images = config_.trains("vae");
  data::Batch batch;
  batch.draws.resize(micro);
  if (images || config_.train.inpainting)
    batch.images = meta_tensor({draws, 3, bucket.height, bucket.width});
  if (config_.train.inpainting) batch.masks = meta_tensor({draws, 1, bucket.height, bucket.width});
  if (!images) {
    const std::vector<int64_t> shape{draws, vae_.config().latent_channels, bucket.height / scale,
                                     bucket.width / scale};
    batch.latents = meta_tensor(shape);
    batch.noise = meta_tensor(shape);
    batch.timesteps = meta_tensor({draws}, at::kLong);
    batch.input_ids = meta_tensor({draws, tokens()}, at::kLong);
  }
  batch.loss_scale = meta_tensor({draws});
  return batch;
}

void MetaNetworks::sample(const GenerationSize& size) const {
  const at::NoGradGuard no_grad;
  const int64_t scale = vae_.config().downscale();
  const int64_t rows = size.rows * (config_.sample.cfg == 1 ? 1 : 2);
  const int64_t height = size.height / scale, width = size.width / scale;
  {
    const at::Tensor latents = meta_tensor({rows, unet_.config().in_channels, height, width});
    const at::Tensor states =
        text_encoder_
            .forward(
                meta_tensor({rows, tokens()}, at::kLong).reshape({-1, model::Tokenizer::kContext}))
            .reshape({rows, tokens(), -1});
    unet_.forward(latents, meta_tensor({rows}), states);
  }
  model::decode_tiled(vae_, meta_tensor({1, vae_.config().latent_channels, height, width}),
                      model::default_tile(vae_, size.width, size.height));
}

int64_t MetaNetworks::tokens() const {
  return model::Tokenizer::kContext * config_.data.caption_chunks();
}

const data::Bucket& largest_of(const std::vector<data::Bucket>& buckets) {
  return *std::ranges::max_element(
      buckets, {}, [](const data::Bucket& bucket) { return bucket.width * bucket.height; });
}

}  // namespace kessoku::runtime
