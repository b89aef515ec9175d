#include "runtime/training/parameter_settings.h"

#include <algorithm>

#include "base/error.h"
#include "data/sampling/glob.h"

namespace kessoku::runtime {

namespace {

bool matches_any(const std::vector<std::string>& patterns, const std::string& name) {
  return std::ranges::any_of(
      patterns, [&](const auto& pattern) { return data::glob_matches(pattern, name); });
}

model::Parameters all_parameters(const model::StableDiffusion& model, int64_t clip_skip) {
  model::Parameters all;
  const auto add = [&](const std::string& part, const model::Parameters& parameters) {
    for (const model::Parameter& parameter : parameters)
      all.push_back({part + "." + parameter.name, parameter.tensor});
  };
  add("unet", model.unet.parameters());
  add("text_encoder", model.text_encoder.used_parameters(clip_skip));
  add("vae", model.vae.parameters());
  return all;
}

/// A pattern that does nothing is a mistake, most often in its spelling.
void require_match(const std::string& key, const std::string& pattern,
                   const model::Parameters& parameters) {
  const auto found = std::ranges::any_of(parameters, [&](const auto& parameter) {
    return data::glob_matches(pattern, parameter.name);
  });
  if (found) return;
  throw UsageError(
      fmt::format("optimizer.{}: \"{}\" matches no parameter; they are called as \"{}\", and * "
                  "stands for anything",
                  key, pattern, parameters.front().name));
}

}  // namespace

ParameterSettings settings_of(const RunConfig::Optimizer& config, const std::string& name) {
  const bool text = name.starts_with("text_encoder.");
  ParameterSettings settings{
      text && config.text_encoder_lr >= 0 ? config.text_encoder_lr : config.lr,
      matches_any(config.no_decay, name) ? 0 : config.weight_decay};
  for (auto rule = config.lr_scale.rbegin(); rule != config.lr_scale.rend(); ++rule) {
    if (!data::glob_matches(rule->first, name)) continue;
    settings.lr *= rule->second;
    break;
  }
  return settings;
}

model::Parameters trained_parameters(const RunConfig& config, const model::StableDiffusion& model) {
  const model::Parameters all = all_parameters(model, config.train.clip_skip);
  for (const std::string& pattern : config.optimizer.freeze) require_match("freeze", pattern, all);
  for (const std::string& pattern : config.optimizer.no_decay)
    require_match("no_decay", pattern, all);
  for (const auto& [pattern, scale] : config.optimizer.lr_scale)
    require_match("lr_scale", pattern, all);
  model::Parameters trained;
  std::ranges::copy_if(all, std::back_inserter(trained), [&](const model::Parameter& parameter) {
    return config.trains(parameter.name.substr(0, parameter.name.find('.'))) &&
           !matches_any(config.optimizer.freeze, parameter.name);
  });
  if (trained.empty()) {
    throw UsageError("optimizer.freeze leaves nothing of train.target to be trained");
  }
  return trained;
}

}  // namespace kessoku::runtime
