#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "model/pipeline/generation_defaults.h"
#include "model/pipeline/prompt_encoding.h"

namespace kessoku::model {

/// One image to make: all that it is a function of, besides the model.
struct GenerationRequest {
  std::string prompt;
  std::string negative;
  PromptOptions text;
  uint64_t seed = 0;    ///< of all noise (Philox)
  at::Tensor noise;     ///< unit normal (C, h, w) to begin with, instead of the seed's; optional
  int64_t width = 512;  ///< pixels; a multiple of the VAE's downscale
  int64_t height = 512;
  int64_t steps = GenerationDefaults().steps;
  double cfg = GenerationDefaults().cfg;  ///< guidance scale; 1 = no guidance
  std::string solver{GenerationDefaults().solver};
  double eta = 0;       ///< of the solver ddim
  int64_t tile = 0;     ///< pixels a side of the VAE's tiles; 0 = the whole image at once
  at::Tensor init;      ///< image to begin with, (3, H, W) f32 in −1…1; undefined = noise
  at::Tensor mask;      ///< where to repaint `init`, (1, H, W) f32, 1 = repaint, 0 = keep; optional
  double strength = 1;  ///< share of the steps that are taken from `init`; 0…1
};

}  // namespace kessoku::model
