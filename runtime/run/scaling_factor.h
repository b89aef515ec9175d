#pragma once

#include "data/store/store.h"
#include "model/networks/vae.h"

namespace kessoku::runtime {

/// 1 / (standard deviation of the latent means of up to 256 images spread over the store), so
/// that scaled latents have unit variance (Rombach et al., 2022, appendix G). The store must keep
/// images.
double fit_scaling_factor(const model::Vae& vae, const data::Store& store);

}  // namespace kessoku::runtime
