#include "model/stable_diffusion.h"

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "model/config_reader.h"
#include "model/init.h"
#include "model/model_output.h"
#include "model/presets.h"
#include "model/stored_weights.h"

namespace kessoku::model {

using nlohmann::json;
using std::filesystem::path;

namespace {

template <typename Module, typename Config>
Module load_network(const StoredNetwork<Config>& stored) {
  try {
    Module module(stored.config);
    load_weights(module.parameters(), stored.weights);
    return module;
  } catch (const c10::Error&) {  // the allocator's; nothing has been written to the memory yet
    throw DataError(
        fmt::format("{}: the network that its config describes does not fit into memory",
                    stored.weights.where.string()));
  }
}

/// What a whole model needs and `stored` may not have.
void require_complete(const StoredModel& stored) {
  const bool is_folder = std::filesystem::is_directory(stored.path);
  for (const auto& [has, folder, part] :
       {std::tuple{stored.unet.has_value(), "unet", "UNet"},
        {stored.text_encoder.has_value(), "text_encoder", "text encoder"},
        {stored.vae.has_value(), "vae", "VAE"}}) {
    if (has) continue;
    const std::string where = stored.path.string();
    if (is_folder) {
      throw UsageError(fmt::format("{}: not a whole model: there is no {}/ in it", where, folder));
    }
    throw UsageError(fmt::format("{}: not a whole model: it holds no {}{}", where, part,
                                 part == std::string("VAE") ? "; name one with --vae (in a run "
                                                              "file model.vae)"
                                                            : ""));
  }
  if (!stored.tokenizer.empty()) return;
  throw UsageError(fmt::format(
      "{}: comes without a tokenizer: name a model folder that has one with --config (in a run "
      "file model.config), or run scripts/setup.sh, which makes models/clip-tokenizer",
      stored.path.string()));
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
  for (const int64_t id : model.tokenizer.tokenize("").ids) {  // the largest ones are the marks
    if (id < model.text_encoder.config().vocab_size) continue;
    throw DataError(
        fmt::format("{}: the tokenizer has piece {}, but the text encoder's vocabulary {} entries",
                    folder.string(), id, model.text_encoder.config().vocab_size));
  }
}

}  // namespace

StableDiffusion load_model(const ModelSource& source) {
  const StoredModel stored = open_model(source);
  require_complete(stored);
  StableDiffusion model{
      load_network<UNet>(*stored.unet), load_network<TextEncoder>(*stored.text_encoder),
      load_network<Vae>(*stored.vae), Tokenizer::load(stored.tokenizer), stored.schedule};
  check_fit(source.path, model);
  return model;
}

StableDiffusion load_model(const path& path) { return load_model(ModelSource{.path = path}); }

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

void save_model(const path& folder, const StableDiffusion& model, at::ScalarType dtype) {
  write_model_folder(folder, output_of(model, dtype));
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
