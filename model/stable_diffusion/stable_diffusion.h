#pragma once

#include <filesystem>

#include "model/diffusion/noise_schedule.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"
#include "model/stable_diffusion/model_files.h"
#include "model/text/tokenizer.h"

namespace kessoku::model {

/// All of a Stable Diffusion 1.x model folder (diffusers layout). Weights are fp32 in memory.
struct StableDiffusion {
  UNet unet;
  TextEncoder text_encoder;
  Vae vae;
  Tokenizer tokenizer;
  NoiseScheduleConfig schedule;
};

/// Reads a model, complete: a diffusers folder (model_index.json, unet/, text_encoder/, vae/,
/// tokenizer/, scheduler/) or a lone file (open_model says which configs and tokenizer it takes);
/// f16, bf16 and f32 files alike. Throws UsageError if it is not there or a part must be named,
/// DataError naming file and tensor if something is missing or does not fit its config.
StableDiffusion load_model(const ModelSource& source);
StableDiffusion load_model(const std::filesystem::path& path);

/// Only the VAE of a model, or one by itself.
Vae load_vae(const ModelSource& source);
/// Only the text encoder of a model, or one by itself.
TextEncoder load_text_encoder(const ModelSource& source);

/// A model with fresh weights, a pure function of `seed`. `preset` is "tiny" or "sd15"; the
/// tokenizer's files are read from `tokenizer_folder` (vocab.json, merges.txt).
StableDiffusion create_model(const std::string& preset, uint64_t seed,
                             const std::filesystem::path& tokenizer_folder);

/// Writes a diffusers folder that any SD tool opens. Files are written in place: callers that must
/// be crash-safe write into a temporary folder and rename it. `dtype` kHalf, kBFloat16 or kFloat.
/// `instead`: weights under their names ("unet.conv_in.weight") to write in place of the model's.
void save_model(const std::filesystem::path& folder, const StableDiffusion& model,
                at::ScalarType dtype, const Parameters& instead = {});

/// XXH3 over the VAE's weights and config, as hex: what a store's latents depend on.
std::string vae_digest(const Vae& vae);

}  // namespace kessoku::model
