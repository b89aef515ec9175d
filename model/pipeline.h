#pragma once

#include <functional>

#include "model/stable_diffusion.h"

namespace kessoku::model {

/// One picture to make.
struct TextToImage {
  std::string prompt;
  std::string negative;
  uint64_t seed = 0;       ///< of the initial latents (Philox, Purpose::kInitialLatents)
  int64_t width = 512;     ///< pixels; a multiple of the VAE's downscale
  int64_t height = 512;
  int64_t steps = 28;
  double cfg = 7.5;        ///< guidance scale; 1 = no guidance
  std::string solver = "dpmpp_2m";
};

/// Makes the pictures of `requests` (equal size, steps, cfg and solver: one batch). `initial_latents`, if defined, is (B, C, h, w)
/// unit normal and replaces the seeds. `on_step(done, total)` is called after each solver step. Returns u8 (B, H, W, 3) on the CPU.
/// Throws UsageError on an unknown solver or size.
at::Tensor text_to_image(const StableDiffusion& model, const std::vector<TextToImage>& requests,
                         const at::Tensor& initial_latents = {},
                         const std::function<void(int64_t, int64_t)>& on_step = {});

}  // namespace kessoku::model
