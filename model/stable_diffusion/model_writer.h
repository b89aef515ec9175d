#pragma once

#include "model/stable_diffusion/model_files.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "model/weights/lazy_tensor.h"

namespace kessoku::model {

template <typename Config>
struct NetworkOutput {
  Config config;
  TensorOutputs weights;  ///< under diffusers' names
};

/// A model, or some of its networks, about to be written.
struct ModelOutput {
  std::optional<NetworkOutput<UNetConfig>> unet;
  std::optional<NetworkOutput<TextEncoderConfig>> text_encoder;
  std::optional<NetworkOutput<VaeConfig>> vae;
  NoiseScheduleConfig schedule;
  const Tokenizer* tokenizer = nullptr;  ///< not owned; needed for a whole folder only
};

/// `dtype`: of all weights; if not given, they keep theirs. `instead`: weights under their names
/// ("unet.conv_in.weight") to write in place of the model's.
ModelOutput output_of(const StableDiffusion& model, std::optional<at::ScalarType> dtype = {},
                      const Parameters& instead = {});
/// Checks all names and shapes first. Throws DataError naming file and tensor.
ModelOutput output_of(const ModelFiles& model, std::optional<at::ScalarType> dtype = {});

/// All tensors of all networks.
std::vector<TensorOutput*> tensors_of(ModelOutput& model);

enum class WeightFormat {
  kSafetensors,
  kTorch,
  kNone,  ///< configs only
};

/// Writes a diffusers folder that any SD tool opens, with the networks that there are. Files are
/// written in place: callers that must be crash-safe write into a temporary folder and rename it.
void write_model_folder(const std::filesystem::path& folder, const ModelOutput& model,
                        WeightFormat format = WeightFormat::kSafetensors);
/// The weight files of such a folder, in safetensors: its name in the folder ("unet/…"), and what
/// it holds. For callers that write them by themselves, with kFolderMetadata.
std::map<std::string, TensorOutputs> weight_files_of(const ModelOutput& model);
inline const std::map<std::string, std::string> kFolderMetadata{{"format", "pt"}};
/// Writes the folder of one network, the only one of `model`: config.json and weights.
void write_network_folder(const std::filesystem::path& folder, const ModelOutput& model,
                          WeightFormat format = WeightFormat::kSafetensors);
/// Writes one file as most tools take it: all networks as an LDM checkpoint; one UNet too; one VAE
/// under LDM's names without a prefix; one text encoder under transformers'. The configs go with it
/// (kConfigKey).
void write_model_file(const std::filesystem::path& file, const ModelOutput& model,
                      WeightFormat format);

}  // namespace kessoku::model
