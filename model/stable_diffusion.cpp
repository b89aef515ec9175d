#include "model/stable_diffusion.h"

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "model/config_reader.h"
#include "model/init.h"
#include "model/presets.h"
#include "model/weight_loading.h"

namespace kessoku::model {

using nlohmann::json;
using std::filesystem::path;

namespace {

constexpr const char* kDiffusersStem = "diffusion_pytorch_model";
constexpr const char* kTransformersStem = "model";

/// Builds a network as its folder's config.json says and loads its weights.
template <typename Module, typename Config>
Module load_module(const path& folder, const std::string& stem) {
  const std::string config_path = (folder / "config.json").string();
  const Config config = Config::from_json(read_json_file(config_path), config_path);
  try {
    Module module(config);
    load_weights(module.parameters(), folder, stem);
    return module;
  } catch (const c10::Error&) {  // the allocator's; nothing has been written to the memory yet
    throw DataError(
        fmt::format("{}: the network that it describes does not fit into memory", config_path));
  }
}

template <typename Module>
void save_module(const path& folder, const Module& module, const std::string& stem,
                 at::ScalarType dtype, const Parameters& instead) {
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "config.json", module.config().to_json().dump(2) + "\n");
  const std::string prefix = folder.filename().string() + ".";
  Parameters written = module.parameters();
  for (Parameter& parameter : written) {
    const auto found = std::ranges::find(instead, prefix + parameter.name, &Parameter::name);
    if (found != instead.end()) parameter.tensor = found->tensor;
  }
  save_weights(written, folder, stem, dtype);
}

/// The UNet must take what the other two give.
void check_fit(const path& folder, const StableDiffusion& model) {
  const UNetConfig& unet = model.unet.config();
  const int64_t width = model.text_encoder.config().hidden_size;
  if (unet.cross_attention_dim != width) {
    throw DataError(fmt::format(
        "{}: the UNet's cross_attention_dim is {}, but the text encoder's hidden_size {}",
        folder.string(), unet.cross_attention_dim, width));
  }
  const int64_t latents = model.vae.config().latent_channels;
  if (unet.out_channels != latents || unet.in_channels < latents) {
    throw DataError(fmt::format("{}: the UNet has {} → {} channels, but the VAE's latents {}",
                                folder.string(), unet.in_channels, unet.out_channels, latents));
  }
}

json model_index(const json& schedule) {
  const json none = {nullptr, nullptr};
  return {{"_class_name", "StableDiffusionPipeline"},
          {"_diffusers_version", kDiffusersVersion},
          {"feature_extractor", none},
          {"image_encoder", none},
          {"requires_safety_checker", false},
          {"safety_checker", none},
          {"scheduler", {"diffusers", schedule.value("_class_name", "PNDMScheduler")}},
          {"text_encoder", {"transformers", "CLIPTextModel"}},
          {"tokenizer", {"transformers", "CLIPTokenizer"}},
          {"unet", {"diffusers", "UNet2DConditionModel"}},
          {"vae", {"diffusers", "AutoencoderKL"}}};
}

NoiseScheduleConfig load_schedule(const path& folder) {
  const std::string file = (folder / "scheduler_config.json").string();
  NoiseScheduleConfig config = NoiseScheduleConfig::from_json(read_json_file(file), file);
  config.steps_offset = 1;  // as StableDiffusionPipeline corrects outdated files
  return config;
}

}  // namespace

StableDiffusion load_model(const path& folder) {
  for (const char* part : {"unet", "text_encoder", "vae", "tokenizer", "scheduler"}) {
    if (!std::filesystem::is_directory(folder / part)) {
      throw UsageError(
          fmt::format("{}: not a model folder: there is no {}/ in it", folder.string(), part));
    }
  }
  StableDiffusion model{
      load_module<UNet, UNetConfig>(folder / "unet", kDiffusersStem),
      load_module<TextEncoder, TextEncoderConfig>(folder / "text_encoder", kTransformersStem),
      load_module<Vae, VaeConfig>(folder / "vae", kDiffusersStem),
      Tokenizer::load(folder / "tokenizer"), load_schedule(folder / "scheduler")};
  check_fit(folder, model);
  return model;
}

StableDiffusion create_model(const std::string& preset, uint64_t seed,
                             const path& tokenizer_folder) {
  const Preset shapes = find_preset(preset);
  StableDiffusion model{UNet(shapes.unet), TextEncoder(shapes.text_encoder), Vae(shapes.vae),
                        Tokenizer::load(tokenizer_folder), shapes.schedule};
  initialize_weights(model.unet.parameters(), Network::kUNet, seed);
  initialize_text_encoder(model.text_encoder, seed);
  initialize_weights(model.vae.parameters(), Network::kVae, seed);
  return model;
}

void save_model(const path& folder, const StableDiffusion& model, at::ScalarType dtype,
                const Parameters& instead) {
  save_module(folder / "unet", model.unet, kDiffusersStem, dtype, instead);
  save_module(folder / "text_encoder", model.text_encoder, kTransformersStem, dtype, instead);
  save_module(folder / "vae", model.vae, kDiffusersStem, dtype, instead);
  std::filesystem::create_directories(folder / "tokenizer");
  model.tokenizer.save(folder / "tokenizer");
  const json schedule = model.schedule.to_json();
  std::filesystem::create_directories(folder / "scheduler");
  write_file_atomically(folder / "scheduler" / "scheduler_config.json", schedule.dump(2) + "\n");
  write_file_atomically(folder / "model_index.json", model_index(schedule).dump(2) + "\n");
}

std::string vae_digest(const Vae& vae) {
  Checksummer digest;
  json config = vae.config().to_json();
  config.erase("_diffusers_version");
  digest.add(config.dump());
  for (const auto& [name, tensor] : vae.parameters()) {
    const at::Tensor values = tensor.detach().cpu().contiguous();
    digest.add(name);
    digest.add({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  }
  return to_hex(digest.value());
}

}  // namespace kessoku::model
