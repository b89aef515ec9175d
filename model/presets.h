#pragma once

#include <string>

#include "model/noise_schedule.h"
#include "model/text_encoder.h"
#include "model/unet.h"
#include "model/vae.h"

namespace kessoku::model {

/// The shapes of a model that `kessoku init` can make.
struct Preset {
  UNetConfig unet;
  TextEncoderConfig text_encoder;
  VaeConfig vae;
  NoiseScheduleConfig schedule;
};

/// "tiny": the demo's, 64 px pictures as 8×8 latents of 16 channels. "sd15": Stable Diffusion 1.5.
/// Throws UsageError on another name.
Preset find_preset(const std::string& name);

}  // namespace kessoku::model
