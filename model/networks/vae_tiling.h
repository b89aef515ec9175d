#pragma once

#include "model/networks/vae.h"

namespace kessoku::model {

// Large images in overlapping square tiles, so that memory does not grow with the image but for
// the image itself. Neighbors overlap by a quarter and fade into one another linearly, as in
// diffusers' AutoencoderKL.enable_tiling; results differ from the whole image's, because each
// tile is normalized by itself.

/// As Vae::decode, in tiles of `tile` pixels a side (a multiple of 4 × the VAE's downscale).
/// Latents no larger than a tile are decoded whole; 0 means always.
at::Tensor decode_tiled(const Vae& vae, const at::Tensor& latents, int64_t tile);

/// As Vae::encode, in tiles of `tile` pixels a side.
at::Tensor encode_tiled(const Vae& vae, const at::Tensor& images, int64_t tile);

/// The tile that large images of this VAE are made in, 0 for those that are not large: above what
/// SD 1.x's VAE needs for 1024×1024 pixels, some 2 GB, the tile is the size that the VAE was made
/// for.
int64_t default_tile(const Vae& vae, int64_t width, int64_t height);

/// Throws UsageError unless `tile` is 0 or a multiple of 4 × the VAE's downscale.
void check_tile(const Vae& vae, int64_t tile);

}  // namespace kessoku::model
