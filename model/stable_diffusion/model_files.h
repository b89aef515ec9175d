#pragma once

#include "model/diffusion/noise_schedule.h"
#include "model/networks/text_encoder.h"
#include "model/networks/unet.h"
#include "model/networks/vae.h"
#include "model/text/text_normalization.h"
#include "model/weights/stored_weights.h"

namespace kessoku::model {

/// Where a model comes from.
struct ModelSource {
  std::filesystem::path path;       ///< a diffusers folder, or a lone .safetensors, .ckpt … file
  std::filesystem::path config;     ///< model folder whose configs and tokenizer a lone file takes
  std::filesystem::path vae;        ///< folder or file whose VAE replaces the model's
  std::filesystem::path tokenizer;  ///< folder of one for models that bring none
  bool ema = false;                 ///< the moving averages of a lone file's UNet, not its weights
  std::optional<FrontEnd> front_end{};  ///< the tokenizer's, if not as its folder says
};

template <typename Config>
struct StoredNetwork {
  Config config;
  StoredWeights weights;
};

/// A model as it lies on disk: configs, and where each weight is. Each part may be missing.
struct ModelFiles {
  std::filesystem::path path;  ///< for errors
  std::optional<StoredNetwork<UNetConfig>> unet;
  std::optional<StoredNetwork<TextEncoderConfig>> text_encoder;
  std::optional<StoredNetwork<VaeConfig>> vae;
  NoiseScheduleConfig schedule;
  std::filesystem::path tokenizer;  ///< its folder; empty if there is none
};

/// Opens what there is of a model, without reading weights: a diffusers folder; the folder of one
/// of its networks; or a lone file, for which SD 1.5's configs are taken, or those in its metadata
/// (`kConfigKey`), or those of `source.config`. Throws UsageError if there is no such thing or the
/// options do not go with it, DataError if it is damaged or of another kind.
ModelFiles open_model(const ModelSource& source);

/// Throws UsageError, saying which option helps, if a part or the tokenizer is missing; DataError
/// if the networks do not go together.
void require_whole(const ModelFiles& model);

/// Throws UsageError, saying what to do, if a model has no `tokenizer`.
void require_tokenizer(const std::filesystem::path& model, const std::filesystem::path& tokenizer);

/// The metadata of the lone files that we write: their configs, as JSON of "unet", "text_encoder",
/// "vae" and "scheduler".
constexpr const char* kConfigKey = "kessoku_config";

}  // namespace kessoku::model
