#include "model/stable_diffusion/model_files.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_fields.h"
#include "base/log.h"
#include "model/stable_diffusion/ldm_names.h"
#include "model/stable_diffusion/presets.h"
#include "model/stable_diffusion/weight_layout.h"

namespace kessoku::model {

using nlohmann::json;
using std::filesystem::path;

namespace {

namespace fs = std::filesystem;

constexpr const char* kDiffusersStem = "diffusion_pytorch_model";
constexpr const char* kTransformersStem = "model";

/// Names and shapes of a network's weights, without memory for them.
template <typename Module, typename Config>
Parameters expected_weights(const Config& config) {
  return Module(config, at::kMeta).parameters();
}

template <typename Config>
std::optional<StoredNetwork<Config>> open_part(const path& folder, const char* stem) {
  const path file = folder / "config.json";
  if (!fs::exists(file)) return std::nullopt;
  const Config config = Config::from_json(read_json_file(file.string()), file.string());
  return StoredNetwork<Config>{config, open_folder_weights(folder, stem)};
}

/// The class of the scheduler that model_index.json names; empty if it names none.
std::string named_scheduler(const json& index) {
  const auto entry = index.find("scheduler");  // library and class
  if (entry == index.end() || entry->size() != 2 || !entry->back().is_string()) return {};
  return entry->back().get<std::string>();
}

/// scheduler/scheduler_config.json, with the class that model_index.json names: diffusers gives the
/// file's numbers to that one.
NoiseScheduleConfig read_schedule(const path& folder) {
  const std::string file = (folder / "scheduler" / "scheduler_config.json").string();
  const std::string index = (folder / "model_index.json").string();
  json schedule = read_json_file(file);
  std::string written;
  JsonFields(schedule, file).read("_class_name", written);
  const std::string named = named_scheduler(read_json_file(index));
  if (!named.empty() && !written.empty() && named != written) {
    log_warning("{} names {}, but {} was written by {}: taken as the former, as diffusers does",
                index, in_quotes(named), file, in_quotes(written));
    schedule["_class_name"] = named;
  }
  NoiseScheduleConfig config = NoiseScheduleConfig::from_json(schedule, file);
  config.steps_offset = 1;  // as StableDiffusionPipeline corrects outdated files
  return config;
}

ModelFiles open_folder(const path& folder) {
  ModelFiles model{.path = folder};
  model.unet = open_part<UNetConfig>(folder / "unet", kDiffusersStem);
  model.text_encoder = open_part<TextEncoderConfig>(folder / "text_encoder", kTransformersStem);
  model.vae = open_part<VaeConfig>(folder / "vae", kDiffusersStem);
  model.schedule = read_schedule(folder);
  if (fs::is_directory(folder / "tokenizer")) model.tokenizer = folder / "tokenizer";
  return model;
}

/// unet/, vae/ or text_encoder/ by itself.
ModelFiles open_network_folder(const path& folder) {
  const std::string file = (folder / "config.json").string();
  const json config = read_json_file(file);
  const JsonFields reader(config, file);
  std::string kind;
  reader.read("model_type", kind);
  reader.read("_class_name", kind);
  ModelFiles model{.path = folder};
  if (kind == "UNet2DConditionModel") {
    model.unet = open_part<UNetConfig>(folder, kDiffusersStem);
  } else if (kind == "AutoencoderKL") {
    model.vae = open_part<VaeConfig>(folder, kDiffusersStem);
  } else if (kind == "clip_text_model" || kind == "clip") {
    model.text_encoder = open_part<TextEncoderConfig>(folder, kTransformersStem);
  } else {
    throw DataError(fmt::format(
        "{}: describes \"{}\", none of UNet2DConditionModel, AutoencoderKL and clip_text_model",
        file, kind.substr(0, 100)));
  }
  return model;
}

/// Overwrites those configs that `json` has.
void read_configs(Preset& configs, const json& all, const std::string& where) {
  const auto read = [&](const char* key, auto& config) {
    using Config = std::remove_reference_t<decltype(config)>;
    if (all.contains(key)) config = Config::from_json(all[key], fmt::format("{}: {}", where, key));
  };
  read("unet", configs.unet);
  read("text_encoder", configs.text_encoder);
  read("vae", configs.vae);
  read("scheduler", configs.schedule);
}

json embedded_configs(const WeightFile& file) {
  const auto found = file.metadata().find(kConfigKey);
  if (found == file.metadata().end()) return json::object();
  const std::string where =
      fmt::format("{}: its metadata \"{}\"", file.path().string(), kConfigKey);
  const json parsed = parse_json(found->second, where);
  if (!parsed.is_object()) throw DataError(where + " is not a JSON object");
  return parsed;
}

json folder_configs(const path& folder) {
  json configs = json::object();
  for (const auto& [key, file] : {std::pair{"unet", "unet/config.json"},
                                  {"text_encoder", "text_encoder/config.json"},
                                  {"vae", "vae/config.json"},
                                  {"scheduler", "scheduler/scheduler_config.json"}}) {
    if (fs::exists(folder / file)) configs[key] = read_json_file((folder / file).string());
  }
  if (configs.empty()) {
    throw UsageError(
        fmt::format("{}: no model folder whose configs could be taken: there is no "
                    "unet/config.json in it, nor another one",
                    folder.string()));
  }
  return configs;
}

/// The configs of a lone file: `defaults`, those in its metadata, those of `folder`; the last that
/// there are count. The file itself says whether the UNet is one for inpainting.
Preset lone_configs(Preset defaults, const WeightFile& file, const WeightLayout& layout,
                    const path& folder) {
  Preset configs = std::move(defaults);
  read_configs(configs, embedded_configs(file), file.path().string());
  if (!folder.empty()) read_configs(configs, folder_configs(folder), folder.string());
  const std::string first = "input_blocks.0.0.weight";
  if (layout.unet && layout.unet->ldm && file.contains(layout.unet->prefix + first)) {
    // An inpainting model has these besides; the folder may well be an ordinary model's.
    const std::vector<int64_t>& shape = file.entry(layout.unet->prefix + first).shape;
    const int64_t more = 2 * configs.unet.out_channels + 1;
    const int64_t instructed = 2 * configs.unet.out_channels;  // instruct-pix2pix
    if (shape.size() == 4 && (shape[1] == more || shape[1] == instructed))
      configs.unet.in_channels = shape[1];
  }
  return configs;
}

ModelFiles open_file(const ModelSource& source, const Preset& defaults) {
  const auto file = std::make_shared<const WeightFile>(open_weight_file(source.path));
  const WeightLayout layout = find_layout(*file);
  if (!layout.foreign.empty() || layout.empty()) {
    throw DataError(fmt::format("{}: {}, not weights of Stable Diffusion 1.x", source.path.string(),
                                layout.describe()));
  }
  if (source.ema && !(layout.ema && layout.unet && layout.unet->prefix == kLdmUNet)) {
    throw UsageError(fmt::format("{}: holds no moving averages (EMA) of the UNet's weights",
                                 source.path.string()));
  }
  Preset configs = lone_configs(defaults, *file, layout, source.config);
  if (file->contains(kVPredictionMark)) configs.schedule.prediction_type = "v_prediction";
  if (file->contains(kZeroTerminalSnrMark)) configs.schedule.use_zero_terminal_snr();
  ModelFiles model{.path = source.path, .schedule = configs.schedule};
  if (layout.unet) {
    const auto expected = expected_weights<UNet>(configs.unet);
    model.unet = {configs.unet, unet_weights(file, *layout.unet, configs.unet, expected,
                                             source.ema || layout.only_ema)};
  }
  if (layout.text_encoder) {
    const auto expected = expected_weights<TextEncoder>(configs.text_encoder);
    model.text_encoder = {configs.text_encoder,
                          text_encoder_weights(file, *layout.text_encoder, expected)};
  }
  if (layout.vae) {
    const auto expected = expected_weights<Vae>(configs.vae);
    model.vae = {configs.vae, vae_weights(file, *layout.vae, configs.vae, expected)};
  }
  if (!source.config.empty() && fs::is_directory(source.config / "tokenizer")) {
    model.tokenizer = source.config / "tokenizer";
  }
  return model;
}

ModelFiles open_any(const ModelSource& source, const Preset& defaults) {
  if (!fs::exists(source.path)) {
    throw UsageError(fmt::format("{}: no such file or folder", source.path.string()));
  }
  if (!fs::is_directory(source.path)) return open_file(source, defaults);
  for (const auto& [given, option] : {std::pair{!source.config.empty(), "configs of another model"},
                                      {source.ema, "moving averages (EMA)"}}) {
    if (!given) continue;
    throw UsageError(fmt::format("{}: {} are for lone weight files, not for folders",
                                 source.path.string(), option));
  }
  if (fs::exists(source.path / "model_index.json")) return open_folder(source.path);
  if (fs::exists(source.path / "config.json")) return open_network_folder(source.path);
  throw UsageError(
      fmt::format("{}: not a model folder: it has neither a model_index.json nor the "
                  "config.json of one network",
                  source.path.string()));
}

/// A file that does not say how its VAE is made is taken for one like the model's.
void replace_vae(ModelFiles& model, const ModelSource& source) {
  Preset defaults = find_preset("sd15");
  if (model.vae) defaults.vae = model.vae->config;
  const bool is_model = fs::exists(source.vae / "model_index.json");
  const ModelSource vae{.path = is_model ? source.vae / "vae" : source.vae};
  ModelFiles found = open_any(vae, defaults);
  if (!found.vae) throw DataError(fmt::format("{}: holds no VAE", source.vae.string()));
  model.vae = std::move(found.vae);
}

/// The UNet must take what the other two give.
void require_fit(const ModelFiles& model) {
  const UNetConfig& unet = model.unet->config;
  const int64_t width = model.text_encoder->config.hidden_size;
  if (unet.cross_attention_dim != width) {
    throw DataError(fmt::format(
        "{}: the UNet's cross_attention_dim is {}, but the text encoder's hidden_size {}",
        model.path.string(), unet.cross_attention_dim, width));
  }
  const int64_t latents = model.vae->config.latent_channels;
  if (unet.out_channels != latents || unet.in_channels < latents) {
    throw DataError(fmt::format("{}: the UNet has {} → {} channels, but the VAE's latents {}",
                                model.path.string(), unet.in_channels, unet.out_channels, latents));
  }
}

}  // namespace

void require_whole(const ModelFiles& model) {
  const std::string where = model.path.string();
  for (const auto& [has, folder, part] :
       {std::tuple{model.unet.has_value(), "unet", "UNet"},
        {model.text_encoder.has_value(), "text_encoder", "text encoder"},
        {model.vae.has_value(), "vae", "VAE"}}) {
    if (has) continue;
    if (fs::is_directory(model.path)) {
      throw UsageError(fmt::format("{}: not a whole model: there is no {}/ in it", where, folder));
    }
    const bool is_vae = part == std::string_view("VAE");
    throw UsageError(fmt::format("{}: not a whole model: it holds no {}{}", where, part,
                                 is_vae ? "; name one with --vae (in a run file model.vae)" : ""));
  }
  require_tokenizer(model.path, model.tokenizer);
  require_fit(model);
}

void require_tokenizer(const path& model, const path& tokenizer) {
  if (!tokenizer.empty()) return;
  throw UsageError(fmt::format(
      "{}: comes without a tokenizer: {}, or run scripts/setup.sh, which makes "
      "models/clip-tokenizer",
      model.string(),
      fs::is_directory(model)
          ? "put one into it as tokenizer/"
          : "name a model folder that has one with --config (in a run file model.config)"));
}

ModelFiles open_model(const ModelSource& source) {
  ModelFiles model = open_any(source, find_preset("sd15"));
  if (!source.vae.empty()) replace_vae(model, source);
  if (model.tokenizer.empty()) model.tokenizer = source.tokenizer;
  return model;
}

}  // namespace kessoku::model
