#pragma once

#include "model/stable_diffusion/stable_diffusion.h"

namespace kessoku::model {

/// Whether the UNet takes [noisy latents, mask, latents of the masked image] (9 channels for
/// SD 1.x), as inpainting models do.
bool is_inpainting_model(const StableDiffusion& model);

/// Makes an inpainting model of an ordinary one: the UNet's first convolution takes the further
/// channels with weights of 0, so that it computes what it did. Does nothing if it is one already.
void widen_for_inpainting(StableDiffusion& model);

/// Masks (…, H, W) at the size of latents: the nearest pixel's, as diffusers takes it.
at::Tensor mask_of_latents(const at::Tensor& masks, int64_t downscale);

/// The image without what is to be repainted: `images` (…, 3, H, W) in −1…1, gray (0) where
/// `masks` (…, 1, H, W) is 1.
at::Tensor masked_images(const at::Tensor& images, const at::Tensor& masks);

/// Puts the original's pixels back where `mask` (1, H, W) is 0: exactly so at more than `feather`
/// pixels from what was repainted, and fading into the made image up to there. `made` is u8
/// (H, W, 3), as is the result; `original` (3, H, W) in −1…1.
at::Tensor keep_original(const at::Tensor& made, const at::Tensor& original, const at::Tensor& mask,
                         int64_t feather);

}  // namespace kessoku::model
