#pragma once

#include <string>

#include "model/diffusion/noise_schedule.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"

namespace kessoku::model {

/// The shapes of a model that `kessoku init` can make.
struct Preset {
  UNetConfig unet;
  TextEncoderConfig text_encoder;
  VaeConfig vae;
  NoiseScheduleConfig schedule;
};

/// "tiny": the demo's, 64 px images as 8×8 latents of 16 channels. "sd15": Stable Diffusion 1.5.
/// Throws UsageError on another name.
Preset find_preset(const std::string& name);

}  // namespace kessoku::model
