#include "model/diffusion/noise_schedule_config.h"

#include "base/json_fields.h"

namespace kessoku::model {

using nlohmann::json;

namespace {

/// What diffusers' schedulers can be told that would need other mathematics. How a solver is set up
/// (use_karras_sigmas, solver_order …) is not among it: that is what our solvers' names say.
void require_known_mathematics(const JsonFields& reader) {
  reader.require("beta_schedule", {"scaled_linear", "linear", "squaredcos_cap_v2"});
  reader.require("prediction_type", {"epsilon", "v_prediction"});
  reader.require("timestep_spacing", {"leading", "trailing", "linspace"});
  reader.require("thresholding", {false});
  reader.require("use_flow_sigmas", {false});
  reader.require("timestep_type", {"discrete"});
  reader.require("variance_type",
                 {"fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"});
  reader.require("trained_betas", {});
}

/// Whether diffusers' scheduler of that name has rescale_betas_zero_snr: others would ignore it,
/// and sample from another schedule than was trained.
bool knows_zero_snr(const std::string& class_name) {
  for (const char* known : {"DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler",
                            "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler",
                            "UniPCMultistepScheduler", "LCMScheduler", "TCDScheduler"}) {
    if (class_name == known) return true;
  }
  return false;
}

json stable_diffusion_1_5() {
  // timestep_spacing is left out on purpose, as there: each of diffusers' schedulers then takes its
  // own default, which is what our solvers do.
  return {{"_class_name", "PNDMScheduler"},
          {"clip_sample", false},
          {"skip_prk_steps", true},
          {"trained_betas", nullptr}};
}

}  // namespace

void NoiseScheduleConfig::use_zero_terminal_snr() {
  zero_terminal_snr = true;
  timestep_spacing = "trailing";
}

NoiseScheduleConfig NoiseScheduleConfig::from_json(const json& json, const std::string& where) {
  const JsonFields reader(json, where);
  require_known_mathematics(reader);
  // What diffusers' schedulers take for a key that is not there, not what Stable Diffusion uses.
  NoiseScheduleConfig config{.beta_start = 0.0001, .beta_end = 0.02, .beta_schedule = "linear"};
  config.steps_offset = 0;
  config.set_alpha_to_one.reset();
  reader.read("num_train_timesteps", config.num_train_timesteps, 100'000);
  reader.read("beta_start", config.beta_start);
  reader.read("beta_end", config.beta_end);
  reader.read("beta_schedule", config.beta_schedule);
  reader.read("prediction_type", config.prediction_type);
  reader.read("rescale_betas_zero_snr", config.zero_terminal_snr);
  reader.read("timestep_spacing", config.timestep_spacing);
  reader.read("steps_offset", config.steps_offset, config.num_train_timesteps, 0);
  reader.read("set_alpha_to_one", config.set_alpha_to_one);
  if (!(config.beta_start > 0 && config.beta_start <= config.beta_end && config.beta_end < 1)) {
    reader.fail("beta_start", fmt::format("{} and beta_end {} must rise within 0 … 1",
                                          config.beta_start, config.beta_end));
  }
  if (config.zero_terminal_snr && config.num_train_timesteps == 1) {
    reader.fail("rescale_betas_zero_snr", "needs at least two timesteps");
  }
  config.original = json.dump(-1, ' ', false, json::error_handler_t::replace);
  return config;
}

json NoiseScheduleConfig::to_json() const {
  json written =
      original.empty() ? stable_diffusion_1_5() : parse_json(original, "the noise schedule");
  if (zero_terminal_snr && !knows_zero_snr(written.value("_class_name", ""))) {
    written["_class_name"] = "DDIMScheduler";
  }
  written["_diffusers_version"] = kDiffusersVersion;
  written["num_train_timesteps"] = num_train_timesteps;
  written["beta_start"] = beta_start;
  written["beta_end"] = beta_end;
  written["beta_schedule"] = beta_schedule;
  written["prediction_type"] = prediction_type;
  written["steps_offset"] = steps_offset;
  if (zero_terminal_snr || written.contains("rescale_betas_zero_snr")) {
    written["rescale_betas_zero_snr"] = zero_terminal_snr;
  }
  if (!timestep_spacing.empty()) written["timestep_spacing"] = timestep_spacing;
  if (set_alpha_to_one) written["set_alpha_to_one"] = *set_alpha_to_one;
  return written;
}

}  // namespace kessoku::model
