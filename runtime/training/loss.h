#pragma once

#include "data/loading/loader.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// What training makes small.
class Objective {
 public:
  virtual ~Objective() = default;
  /// One loss a draw, (B) f32, differentiable with respect to the trained parameters.
  virtual at::Tensor losses(const data::Batch& batch) = 0;
  /// The networks that are computed with tell this before they read weights.
  virtual void set_before_use(const model::BeforeUse& before_use) = 0;
};

/// Denoising (Ho et al., 2020): the squared error of the UNet's prediction, mean over the latent's
/// elements, over all of the image also where it is to be repainted in part; weighed by the
/// timestep's SNR if `config.train.min_snr_gamma` says so.
std::unique_ptr<Objective> make_denoising_objective(model::UNet& unet,
                                                    model::TextEncoder& text_encoder,
                                                    const model::Vae& vae,
                                                    const model::NoiseScheduleConfig& schedule,
                                                    const RunConfig& config);

/// Reconstruction by the autoencoder: absolute error, with the other terms of `config.vae`; a mean
/// over elements each.
std::unique_ptr<Objective> make_autoencoder_objective(model::Vae& vae, const RunConfig& config);

}  // namespace kessoku::runtime
