#pragma once

#include "base/random.h"
#include "model/networks/vae.h"

namespace kessoku::model {

/// Unit normals of `shape`, f32 on the CPU, keyed by (seed, purpose, index).
at::Tensor unit_normals(at::IntArrayRef shape, uint64_t seed, Purpose purpose, uint64_t index);

/// Latents as the UNet sees them, (B, C, h, w) f32, sampled from the VAE's posterior of `images`
/// (B, 3, H, W) in −1…1: (mean + exp(log-variance / 2) · noise) · scaling factor. `noise` is unit
/// normal, as the latents. `tile` as in model/networks/vae_tiling.h.
at::Tensor encode_to_latents(const Vae& vae, const at::Tensor& images, const at::Tensor& noise,
                             int64_t tile = 0);

/// Pixels u8 (B, H, W, 3) on the CPU. `latents` as the UNet sees them. Throws DataError if they are
/// not finite.
at::Tensor decode_to_pixels(const Vae& vae, const at::Tensor& latents, int64_t tile = 0);

}  // namespace kessoku::model
