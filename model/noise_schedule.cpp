#include "model/noise_schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/sqrt.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kessoku::model {

namespace {

using nlohmann::json;

template <typename T>
void read_field(const json& object, const char* key, T& field, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return;
  try {
    found->get_to(field);
  } catch (const json::exception&) {
    throw DataError(fmt::format("{}: {} is {}, of the wrong type", where, key,
                                found->dump(-1, ' ', false, json::error_handler_t::replace)));
  }
}

[[noreturn]] void unsupported(const std::string& where, const char* key, const std::string& value,
                              const char* known) {
  throw DataError(
      fmt::format("{}: {} = \"{}\" is not supported; use {}", where, key, value, known));
}

void check(const NoiseScheduleConfig& config, const std::string& where) {
  if (config.num_train_timesteps < 1 || config.num_train_timesteps > 100'000) {
    throw DataError(fmt::format("{}: num_train_timesteps = {}; it must be 1 to 100000", where,
                                config.num_train_timesteps));
  }
  if (!(config.beta_start > 0 && config.beta_start <= config.beta_end && config.beta_end < 1)) {
    throw DataError(
        fmt::format("{}: beta_start = {} and beta_end = {}; they must rise within 0 … 1", where,
                    config.beta_start, config.beta_end));
  }
  if (config.beta_schedule != "scaled_linear" && config.beta_schedule != "linear") {
    unsupported(where, "beta_schedule", config.beta_schedule, "\"scaled_linear\" or \"linear\"");
  }
  if (config.prediction_type != "epsilon" && config.prediction_type != "v_prediction") {
    unsupported(where, "prediction_type", config.prediction_type,
                "\"epsilon\" or \"v_prediction\"");
  }
}

/// √ᾱ and √(1 − ᾱ) at `timesteps`, shaped to multiply `like`.
std::pair<at::Tensor, at::Tensor> coefficients(const at::Tensor& alphas_cumprod,
                                               const at::Tensor& timesteps,
                                               const at::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[0] = -1;
  const at::Tensor alpha =
      alphas_cumprod.to(like.options()).index_select(0, timesteps.to(like.device()));
  return {alpha.sqrt().view(shape), (1 - alpha).sqrt().view(shape)};
}

}  // namespace

NoiseScheduleConfig NoiseScheduleConfig::from_json(const json& json, const std::string& where) {
  if (!json.is_object()) throw DataError(fmt::format("{}: must be a JSON object", where));
  // What diffusers' schedulers take for a key that is not there, not what Stable Diffusion uses.
  NoiseScheduleConfig config{.beta_start = 0.0001, .beta_end = 0.02, .beta_schedule = "linear"};
  read_field(json, "num_train_timesteps", config.num_train_timesteps, where);
  read_field(json, "beta_start", config.beta_start, where);
  read_field(json, "beta_end", config.beta_end, where);
  read_field(json, "beta_schedule", config.beta_schedule, where);
  read_field(json, "prediction_type", config.prediction_type, where);
  bool rescale = false;
  read_field(json, "rescale_betas_zero_snr", rescale, where);
  if (rescale) throw DataError(fmt::format("{}: rescale_betas_zero_snr is not supported", where));
  if (json.contains("trained_betas") && !json["trained_betas"].is_null()) {
    throw DataError(fmt::format("{}: trained_betas is not supported", where));
  }
  check(config, where);
  return config;
}

json NoiseScheduleConfig::to_json() const {
  // The remaining keys are SD 1.5's. timestep_spacing is left out on purpose, as there: each of
  // diffusers' schedulers then takes its own default, which is what our solvers do.
  return {{"_class_name", "PNDMScheduler"},
          {"_diffusers_version", "0.6.0"},
          {"num_train_timesteps", num_train_timesteps},
          {"beta_start", beta_start},
          {"beta_end", beta_end},
          {"beta_schedule", beta_schedule},
          {"prediction_type", prediction_type},
          {"clip_sample", false},
          {"set_alpha_to_one", false},
          {"skip_prk_steps", true},
          {"steps_offset", 1},
          {"trained_betas", nullptr}};
}

NoiseSchedule::NoiseSchedule(const NoiseScheduleConfig& config) : config_(config) {
  check(config, "noise schedule");
  const bool scaled = config.beta_schedule == "scaled_linear";
  const double start = scaled ? std::sqrt(config.beta_start) : config.beta_start;
  const double end = scaled ? std::sqrt(config.beta_end) : config.beta_end;
  at::Tensor betas =
      at::linspace(start, end, config.num_train_timesteps, at::TensorOptions(at::kFloat));
  if (scaled) betas = betas * betas;
  alphas_cumprod_ = (1 - betas).cumprod(0);
}

at::Tensor NoiseSchedule::add_noise(const at::Tensor& latents, const at::Tensor& noise,
                                    const at::Tensor& timesteps) const {
  const auto [signal, sigma] = coefficients(alphas_cumprod_, timesteps, latents);
  return signal * latents + sigma * noise;
}

at::Tensor NoiseSchedule::target(const at::Tensor& latents, const at::Tensor& noise,
                                 const at::Tensor& timesteps) const {
  if (config_.prediction_type == "epsilon") return noise;
  const auto [signal, sigma] = coefficients(alphas_cumprod_, timesteps, latents);
  return signal * noise - sigma * latents;
}

}  // namespace kessoku::model
