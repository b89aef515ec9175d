#pragma once

#include <map>
#include <optional>

#include "model/pipeline/generation_request.h"

namespace kessoku::runtime {

/// All that an image is a function of, as the command line, a line of a prompts file or a PNG's
/// text gives it. Its request's images and noise are still the names of files.
struct GenerationSettings {
  /// Width and height 0: the init image's, or the model's own.
  model::GenerationRequest request{.width = 0, .height = 0};
  std::string init;         ///< image to begin with; empty = none
  std::string init_digest;  ///< of that file; empty = not known
  std::string mask;         ///< white = repaint
  std::string mask_digest;
  std::optional<double> strength;                         ///< without: 1 with a mask, else 0.8
  bool keep_original = false;                             ///< put the unmasked pixels back
  int64_t feather = model::GenerationDefaults().feather;  ///< pixels over which they fade
  std::optional<int64_t> tile;                            ///< of the VAE; without: by size
  std::string latents;                                    ///< .safetensors file of initial noise
  int64_t latents_row = 0;
  std::string latents_digest;  ///< of that row
  int64_t batch = 0;           ///< images that go through the UNet at once; 0 = by size
  int64_t threads = 0;         ///< of the CPU; 0 = all
  std::string model;           ///< path
  std::string config;          ///< model folder whose configs and tokenizer a lone file takes
  std::string vae;             ///< used instead of the model's
  bool ema = false;            ///< the moving averages of a lone file's UNet
  std::string front_end;       ///< of the tokenizer; empty = as the model says
  std::string dtype = "fp32";  ///< of weights and activations: "fp32" | "bf16"
  std::string model_digest;
  std::string kessoku;  ///< the version that made it
};

/// Key → value, as in a PNG's text.
using SettingsText = std::map<std::string, std::string>;

/// The keys of settings, in order.
std::vector<std::string> setting_keys();

/// Sets what `key` names from text, e.g. ("size", "512x768"); "auto" takes back what is optional.
/// Throws UsageError on an unknown key (with the nearest one), or a value that it cannot have.
void set_setting(GenerationSettings& settings, const std::string& key, const std::string& value);

/// All settings that are not empty, such that set_setting makes them again exactly.
SettingsText to_text(const GenerationSettings& settings);

/// The settings in a PNG that `kessoku sample` wrote. Throws UsageError if the file is not there,
/// DataError naming it if it carries none or is damaged.
GenerationSettings read_settings(const std::filesystem::path& png);

/// What a PNG of this program carries: the settings, and again under the key `parameters` as
/// A1111's web UI writes them, which many tools read.
SettingsText image_text(GenerationSettings settings);

}  // namespace kessoku::runtime
