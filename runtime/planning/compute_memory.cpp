#include "runtime/planning/compute_memory.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "model/networks/meta_kernels.h"
#include "model/networks/vae_tiling.h"
#include "runtime/images/generation_batches.h"
#include "runtime/images/sample_prompts.h"
#include "runtime/planning/allocation_tracker.h"
#include "runtime/planning/meta_allocator.h"
#include "runtime/training/gradient_reducer.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

at::Tensor meta_tensor(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  return at::empty(shape, at::TensorOptions(dtype).device(at::kMeta));
}

/// The networks of a model without their weights, as a run trains them.
class MetaNetworks {
 public:
  MetaNetworks(const RunConfig& config, const model::StableDiffusion& model)
      : config_(config),
        unet_(model.unet.config(), at::kMeta),
        text_encoder_(model.text_encoder.config(), at::kMeta),
        vae_(model.vae.config(), at::kMeta) {
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

  const model::Parameters& trained() const { return trained_; }
  Objective& objective() { return *objective_; }

  data::Batch batch(const data::Bucket& bucket, uint64_t micro) const {
    const auto draws = static_cast<int64_t>(micro);
    const int64_t scale = vae_.config().downscale();
    const bool images = config_.trains("vae");
    data::Batch batch;
    batch.draws.resize(micro);
    if (images || config_.train.inpainting)
      batch.images = meta_tensor({draws, 3, bucket.height, bucket.width});
    if (config_.train.inpainting)
      batch.masks = meta_tensor({draws, 1, bucket.height, bucket.width});
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

  /// As make_images does.
  void sample(const GenerationSize& size) const {
    const at::NoGradGuard no_grad;
    const int64_t scale = vae_.config().downscale();
    const int64_t rows = size.rows * (config_.sample.cfg == 1 ? 1 : 2);
    const int64_t height = size.height / scale, width = size.width / scale;
    {
      const at::Tensor latents = meta_tensor({rows, unet_.config().in_channels, height, width});
      const at::Tensor states = text_encoder_
                                    .forward(meta_tensor({rows, tokens()}, at::kLong)
                                                 .reshape({-1, model::Tokenizer::kContext}))
                                    .reshape({rows, tokens(), -1});
      unet_.forward(latents, meta_tensor({rows}), states);
    }
    model::decode_tiled(vae_, meta_tensor({1, vae_.config().latent_channels, height, width}),
                        model::default_tile(vae_, size.width, size.height));
  }

 private:
  int64_t tokens() const { return model::Tokenizer::kContext * config_.data.caption_chunks(); }

  const RunConfig& config_;
  model::UNet unet_;
  model::TextEncoder text_encoder_;
  model::Vae vae_;
  model::Parameters trained_;
  std::unique_ptr<Objective> objective_;
};

/// Bytes of a batch's tensors.
uint64_t bytes_of(const data::Batch& batch) {
  uint64_t bytes = 0;
  for (const at::Tensor& tensor : {batch.images, batch.masks, batch.latents, batch.noise,
                                   batch.timesteps, batch.loss_scale, batch.input_ids})
    bytes += tensor.defined() ? tensor.nbytes() : 0;
  return bytes;
}

}  // namespace

ComputeMemory trace_compute_memory(const RunConfig& config, const model::StableDiffusion& model,
                                   const std::vector<data::Bucket>& buckets, int ranks) {
  model::register_meta_kernels();
  count_meta_tensors();
  AllocationTracker tracker;
  MetaNetworks networks(config, model);
  const uint64_t micro =
      split_batch(config.train.global_batch, config.train.micro_batch, ranks).micro;
  const std::unique_ptr<Communicator> alone = make_solo_communicator();
  const Partition partition(flat_numel(flat_layout(networks.trained())), bucket_numel(config), 1);
  FlatParameters flat(networks.trained(), partition.numel(), gradient_storage_of(config, ranks));
  GradientReducer reducer(flat, partition, {}, 1, *alone);
  flat.round_to(dtype_of(config));

  ComputeMemory memory;
  const auto most_of = [&](const auto& work) {
    const int64_t held = tracker.live();
    tracker.restart_peak();
    work();
    return static_cast<uint64_t>(tracker.peak() - held);
  };
  const data::Bucket& largest = *std::ranges::max_element(
      buckets, {}, [](const data::Bucket& bucket) { return bucket.width * bucket.height; });
  memory.batch = bytes_of(networks.batch(largest, micro));
  memory.step = most_of([&] {
    const at::Tensor losses = networks.objective().losses(networks.batch(largest, micro));
    reducer.prepare(0);
    losses.sum().backward();
  });
  flat.release_gradients();
  memory.no_grad = most_of([&] {
    const at::NoGradGuard no_grad;
    networks.objective().losses(networks.batch(largest, micro));
  });
  if (config.draws_samples())
    memory.sampling = most_of([&] { networks.sample(sample_size(config, model)); });
  return memory;
}

}  // namespace kessoku::runtime
