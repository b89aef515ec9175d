#pragma once

#include <functional>

#include "model/stable_diffusion.h"

namespace kessoku::model {

/// One picture to make.
struct TextToImage {
  std::string prompt;
  std::string negative;
  uint64_t seed = 0;    ///< of the initial latents (Philox, Purpose::kInitialLatents)
  int64_t width = 512;  ///< pixels; a multiple of `picture_size_unit`
  int64_t height = 512;
  int64_t steps = 28;
  double cfg = 7.5;  ///< guidance scale; 1 = no guidance
  std::string solver = "dpmpp_2m";
};

/// Throws UsageError, naming the nearest size that would do, unless both sides are multiples of
/// `picture_size_unit`.
void check_picture_size(const StableDiffusion& model, int64_t width, int64_t height);

/// Pixels that a picture's sides are multiples of: the VAE's downscale times the UNet's.
int64_t picture_size_unit(const StableDiffusion& model);

/// Unit normals (B, C, h, w) f32 on the CPU, each picture's a function of its seed and size alone.
at::Tensor initial_latents(const StableDiffusion& model, const std::vector<TextToImage>& requests);

/// Makes the pictures of `requests` (equal size, steps, cfg and solver: one batch).
/// `given_latents`, if defined, is (B, C, h, w) unit normal and replaces the seeds. `on_step(done,
/// total)` is called after each solver step. Returns u8 (B, H, W, 3) on the CPU. Throws UsageError
/// on an unknown solver or size.
at::Tensor text_to_image(const StableDiffusion& model, const std::vector<TextToImage>& requests,
                         const at::Tensor& given_latents = {},
                         const std::function<void(int64_t, int64_t)>& on_step = {});

}  // namespace kessoku::model
