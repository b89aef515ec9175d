#include "model/stable_diffusion/stable_diffusion.h"

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json_fields.h"
#include "base/log.h"
#include "model/networks/init.h"
#include "model/stable_diffusion/model_writer.h"
#include "model/stable_diffusion/presets.h"
#include "model/weights/stored_weights.h"

namespace kessoku::model {

using nlohmann::json;
using std::filesystem::path;

namespace {

/// Compares names and shapes before there is memory for the network: a config may claim any size.
template <typename Module, typename Config>
Module load_network(const StoredNetwork<Config>& stored) {
  check_weights(Module(stored.config, at::kMeta).parameters(), stored.weights);
  Module module(stored.config);
  load_weights(module.parameters(), stored.weights);
  return module;
}

/// The text encoder must know all pieces.
void require_vocabulary(const path& where, const StableDiffusion& model) {
  const int64_t known = model.text_encoder.config().vocab_size;
  const int64_t pieces = model.tokenizer.size();
  if (pieces > known) {
    throw DataError(
        fmt::format("{}: the tokenizer has piece {}, but the text encoder's vocabulary {} entries: "
                    "take the tokenizer that belongs to it, or resize its embeddings",
                    where.string(), pieces - 1, known));
  }
  if (pieces < known) {
    log_warning(
        "{}: the text encoder's vocabulary has {} entries, the tokenizer only {}: if words were "
        "added in training, the tokenizer lacks them",
        where.string(), known, pieces);
  }
}

}  // namespace

StableDiffusion load_model(const ModelSource& source) {
  const ModelFiles stored = open_model(source);
  require_whole(stored);
  StableDiffusion model{load_network<UNet>(*stored.unet),
                        load_network<TextEncoder>(*stored.text_encoder),
                        load_network<Vae>(*stored.vae),
                        Tokenizer::load(stored.tokenizer, source.front_end), stored.schedule};
  require_vocabulary(source.path, model);
  return model;
}

StableDiffusion load_model(const path& path) { return load_model(ModelSource{.path = path}); }

Vae load_vae(const ModelSource& source) {
  const ModelFiles stored = open_model(source);
  if (!stored.vae) throw UsageError(fmt::format("{}: holds no VAE", source.path.string()));
  return load_network<Vae>(*stored.vae);
}

TextEncoder load_text_encoder(const ModelSource& source) {
  const ModelFiles stored = open_model(source);
  if (!stored.text_encoder)
    throw UsageError(fmt::format("{}: holds no text encoder", source.path.string()));
  return load_network<TextEncoder>(*stored.text_encoder);
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
  write_model_folder(folder, output_of(model, dtype, instead));
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
