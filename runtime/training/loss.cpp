#include "runtime/training/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/square.h>

#include <optional>

#include "base/random.h"
#include "model/networks/text_conditioning.h"
#include "model/pipeline/inpainting.h"

namespace kessoku::runtime {

namespace {

at::Tensor mean_per_draw(const at::Tensor& values) { return values.flatten(1).mean(1); }

class DenoisingObjective : public Objective {
 public:
  DenoisingObjective(model::UNet& unet, model::TextEncoder& text_encoder, const model::Vae& vae,
                     const model::NoiseScheduleConfig& schedule, const RunConfig& config)
      : unet_(unet),
        text_encoder_(text_encoder),
        vae_(vae),
        schedule_config_(schedule),
        clip_skip_(config.train.clip_skip),
        min_snr_gamma_(config.train.min_snr_gamma) {}

  at::Tensor losses(const data::Batch& batch) override {
    const at::Tensor context = model::encode_text(text_encoder_, batch.input_ids, clip_skip_);
    const model::NoiseSchedule& schedule = schedule_for(batch.latents.device());
    at::Tensor seen = schedule.add_noise(batch.latents, batch.noise, batch.timesteps);
    if (batch.masks.defined()) seen = at::cat({seen, inpainting_channels(batch)}, 1);
    const at::Tensor predicted = unet_.forward(seen, batch.timesteps, context);
    const at::Tensor target = schedule.target(batch.latents, batch.noise, batch.timesteps);
    const at::Tensor losses = mean_per_draw(at::square(predicted - target));
    if (min_snr_gamma_ == 0) return losses;
    return losses * schedule.min_snr_weights(batch.timesteps, min_snr_gamma_);
  }

  void set_before_use(const model::BeforeUse& before_use) override {
    text_encoder_.set_before_use(before_use);
    unet_.set_before_use(before_use);
  }

 private:
  const model::NoiseSchedule& schedule_for(at::Device device) {
    if (!schedule_) schedule_.emplace(schedule_config_, device);
    return *schedule_;
  }

  /// The mask at the latents' size, and the mean latents of what it leaves of the images.
  at::Tensor inpainting_channels(const data::Batch& batch) const {
    const at::NoGradGuard no_grad;
    const model::VaeConfig& vae = vae_.config();
    const at::Tensor moments = vae_.encode(model::masked_images(batch.images, batch.masks));
    const at::Tensor latents = moments.chunk(2, 1)[0].to(at::kFloat) * vae.scaling_factor;
    return at::cat({model::mask_of_latents(batch.masks, vae.downscale()), latents}, 1);
  }

  model::UNet& unet_;
  model::TextEncoder& text_encoder_;
  const model::Vae& vae_;
  model::NoiseScheduleConfig schedule_config_;
  std::optional<model::NoiseSchedule> schedule_;  ///< since the first batch
  int64_t clip_skip_;
  double min_snr_gamma_;
};

class AutoencoderObjective : public Objective {
 public:
  AutoencoderObjective(model::Vae& vae, const RunConfig& config)
      : vae_(vae), weights_(config.vae), seed_(config.seed) {}

  at::Tensor losses(const data::Batch& batch) override {
    const std::vector<at::Tensor> moments = vae_.encode(batch.images).to(at::kFloat).chunk(2, 1);
    const at::Tensor& mean = moments[0];
    const at::Tensor& log_variance = moments[1];
    const at::Tensor latents = mean + at::exp(0.5 * log_variance) * noise_for(batch, mean);
    const at::Tensor error = vae_.decode(latents) - batch.images;
    at::Tensor losses = mean_per_draw(at::abs(error));
    if (weights_.l2_weight > 0)
      losses = losses + weights_.l2_weight * mean_per_draw(at::square(error));
    if (weights_.gradient_weight > 0) {
      const at::Tensor edges =
          mean_per_draw(at::abs(error.diff(1, 2))) + mean_per_draw(at::abs(error.diff(1, 3)));
      losses = losses + weights_.gradient_weight * edges;
    }
    const at::Tensor kl = 0.5 * (at::square(mean) + at::exp(log_variance) - 1 - log_variance);
    return losses + weights_.kl_weight * mean_per_draw(kl);
  }

  void set_before_use(const model::BeforeUse& before_use) override {
    vae_.set_before_use(before_use);
  }

 private:
  at::Tensor noise_for(const data::Batch& batch, const at::Tensor& like) const {
    at::Tensor noise = at::empty(like.sizes(), at::kFloat);
    const size_t numel = static_cast<size_t>(noise.numel()) / batch.draws.size();
    for (size_t i = 0; i < batch.draws.size(); ++i) {
      RandomStream(seed_, Purpose::kVaeSample, batch.draws[i].number)
          .fill_normal({noise.data_ptr<float>() + i * numel, numel});
    }
    return noise.to(like.device());
  }

  model::Vae& vae_;
  RunConfig::Vae weights_;
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Objective> make_denoising_objective(model::UNet& unet,
                                                    model::TextEncoder& text_encoder,
                                                    const model::Vae& vae,
                                                    const model::NoiseScheduleConfig& schedule,
                                                    const RunConfig& config) {
  return std::make_unique<DenoisingObjective>(unet, text_encoder, vae, schedule, config);
}

std::unique_ptr<Objective> make_autoencoder_objective(model::Vae& vae, const RunConfig& config) {
  return std::make_unique<AutoencoderObjective>(vae, config);
}

}  // namespace kessoku::runtime
