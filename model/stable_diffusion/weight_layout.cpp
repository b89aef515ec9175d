#include "model/stable_diffusion/weight_layout.h"

#include <set>

#include "base/error.h"
#include "model/stable_diffusion/ldm_names.h"

namespace kessoku::model {

namespace {

constexpr const char* kLdmEma = "model_ema.diffusion_model";

using Namer = std::function<std::string(const std::string&)>;

bool has_prefix(const WeightFile& file, const std::string& prefix) {
  const auto first = file.entries().lower_bound(prefix);
  return first != file.entries().end() && first->first.starts_with(prefix);
}

/// The names that mark files which people mistake for a model.
std::string find_foreign(const WeightFile& file) {
  for (const auto& [prefix, what] :
       {std::pair{"cond_stage_model.model.", "a Stable Diffusion 2.x checkpoint"},
        {"conditioner.embedders.", "a Stable Diffusion XL checkpoint"},
        {"model.diffusion_model.label_emb.", "a Stable Diffusion XL checkpoint"},
        {"model.diffusion_model.double_blocks.", "a Flux checkpoint"},
        {"model.diffusion_model.joint_blocks.", "a Stable Diffusion 3 checkpoint"},
        {"double_blocks.", "a Flux checkpoint"},
        {"lora_unet_", "a LoRA"},
        {"lora_te_", "a LoRA"},
        {"unet.", "a LoRA"},
        {"control_model.", "a ControlNet"},
        {"controlnet_cond_embedding.", "a ControlNet"},
        {"emb_params", "a textual inversion"},
        {"<", "a textual inversion"}}) {
    if (has_prefix(file, prefix)) return what;
  }
  return {};
}

std::optional<Spelling> find_unet(const WeightFile& file) {
  if (has_prefix(file, kLdmUNet)) return Spelling{kLdmUNet, true};
  if (has_prefix(file, kLdmEma)) return Spelling{kLdmUNet, true};
  if (has_prefix(file, "input_blocks.")) return Spelling{"", true};
  if (has_prefix(file, "time_embedding.") && has_prefix(file, "down_blocks.")) return Spelling{};
  return std::nullopt;
}

std::optional<Spelling> find_text_encoder(const WeightFile& file) {
  const std::string ldm = kLdmTextEncoder;
  if (has_prefix(file, ldm + "text_model.")) return Spelling{ldm, true};
  if (has_prefix(file, ldm + "embeddings.")) return Spelling{ldm, true, true};
  if (has_prefix(file, "text_model.") || has_prefix(file, "encoder.layers.")) return Spelling{};
  return std::nullopt;
}

std::optional<Spelling> find_vae(const WeightFile& file) {
  if (has_prefix(file, kLdmVae)) return Spelling{kLdmVae, true};
  if (has_prefix(file, "decoder.up.") || has_prefix(file, "encoder.down."))
    return Spelling{"", true};
  if (has_prefix(file, "decoder.up_blocks.") || has_prefix(file, "encoder.down_blocks.")) {
    return Spelling{};
  }
  return std::nullopt;
}

/// Finds `expected` under the first of the names that `namers` give which the file has; what else
/// is under `prefix` is kept, so that it is seen.
StoredWeights pick(std::shared_ptr<const WeightFile> file, const Parameters& expected,
                   const std::string& prefix, const std::vector<Namer>& namers,
                   const std::vector<std::string>& ignored) {
  StoredWeights weights{.where = file->path(), .spelling = namers[0]};
  std::set<std::string> used;
  for (const Parameter& parameter : expected) {
    for (const Namer& namer : namers) {
      const std::string name = namer(parameter.name);
      if (!file->contains(name)) continue;
      if (!used.insert(name).second) {
        throw DataError(fmt::format("{}: tensor \"{}\" stands for two weights of this config",
                                    file->path().string(), name));
      }
      weights.tensors[parameter.name] = {file, name};
      break;
    }
  }
  for (auto entry = file->entries().lower_bound(prefix);
       entry != file->entries().end() && entry->first.starts_with(prefix); ++entry) {
    const std::string_view rest = std::string_view(entry->first).substr(prefix.size());
    const bool is_ignored = std::ranges::any_of(
        ignored, [&](const std::string& start) { return rest.starts_with(start); });
    if (!is_ignored && !used.contains(entry->first)) {
      weights.tensors[entry->first] = {file, entry->first};
    }
  }
  return weights;
}

/// Some converters left diffusers' words, of today or of before 0.15, in the autoencoder's
/// attention.
std::vector<Namer> vae_namers(const std::string& prefix, const VaeConfig& config) {
  using Words = std::vector<std::pair<std::string, std::string>>;
  const Words today{{"q", "to_q"}, {"k", "to_k"}, {"v", "to_v"}, {"proj_out", "to_out.0"}};
  const Words once{{"q", "query"}, {"k", "key"}, {"v", "value"}, {"proj_out", "proj_attn"}};
  std::vector<Namer> namers;
  for (const Words& words : {Words{}, today, once}) {
    namers.push_back([=](const std::string& name) {
      std::string ldm = prefix + ldm_vae_name(config, name);
      for (const auto& [from, to] : words) {
        const size_t at = ldm.find("." + from + ".");
        if (at != std::string::npos) ldm.replace(at + 1, from.size(), to);
      }
      return ldm;
    });
  }
  return namers;
}

}  // namespace

WeightLayout find_layout(const WeightFile& file) {
  WeightLayout layout{find_unet(file), find_text_encoder(file), find_vae(file)};
  layout.ema = has_prefix(file, kLdmEma);
  layout.only_ema = layout.ema && !has_prefix(file, kLdmUNet);
  layout.foreign = find_foreign(file);
  return layout;
}

std::string WeightLayout::describe() const {
  if (!foreign.empty()) return foreign;
  if (empty()) return "unknown tensors";
  const auto names = [](const Spelling& spelling) { return spelling.ldm ? "LDM" : "diffusers"; };
  if (only_ema) return "LDM checkpoint of moving averages only";
  if (unet && unet->prefix == kLdmUNet) return "LDM checkpoint";
  if (unet) return fmt::format("UNet ({} names)", names(*unet));
  if (vae && text_encoder) return "LDM checkpoint";
  if (vae) return fmt::format("VAE ({} names)", names(*vae));
  return "text encoder";
}

StoredWeights unet_weights(std::shared_ptr<const WeightFile> file, const Spelling& spelling,
                           const UNetConfig& config, const Parameters& expected, bool ema) {
  if (!spelling.ldm) return named_weights(std::move(file));
  const auto plain = [=, prefix = spelling.prefix](const std::string& name) {
    return prefix + ldm_unet_name(config, name);
  };
  if (!ema) return pick(std::move(file), expected, spelling.prefix, {plain}, {});
  const auto averaged = [plain](const std::string& name) { return ldm_ema_name(plain(name)); };
  return pick(std::move(file), expected, "model_ema.", {averaged}, {"decay", "num_updates"});
}

StoredWeights text_encoder_weights(std::shared_ptr<const WeightFile> file, const Spelling& spelling,
                                   const Parameters& expected) {
  if (!spelling.ldm) return named_weights(std::move(file));
  const std::string ours = spelling.short_text ? "text_model." : "";
  const auto namer = [ours, prefix = spelling.prefix](const std::string& name) {
    return prefix + name.substr(ours.size());
  };
  return pick(std::move(file), expected, spelling.prefix, {namer},
              {"text_model.embeddings.position_ids", "embeddings.position_ids", "text_projection",
               "logit_scale", "vision_model.", "visual_projection."});
}

StoredWeights vae_weights(std::shared_ptr<const WeightFile> file, const Spelling& spelling,
                          const VaeConfig& config, const Parameters& expected) {
  if (!spelling.ldm) return named_weights(std::move(file));
  return pick(std::move(file), expected, spelling.prefix, vae_namers(spelling.prefix, config),
              {"loss.", "model_ema."});
}

}  // namespace kessoku::model
