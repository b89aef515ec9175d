#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kessoku::model {

/// scheduler/scheduler_config.json.
struct NoiseScheduleConfig {
  int64_t num_train_timesteps = 1000;
  double beta_start = 0.00085;
  double beta_end = 0.012;
  std::string beta_schedule = "scaled_linear";  ///< "scaled_linear" | "linear"
  std::string prediction_type = "epsilon";      ///< "epsilon" | "v_prediction"

  static NoiseScheduleConfig from_json(const nlohmann::json& json, const std::string& where);
  nlohmann::json to_json() const;
};

/// The forward process q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I) (Ho et al., 2020).
class NoiseSchedule {
 public:
  explicit NoiseSchedule(const NoiseScheduleConfig& config);

  /// ᾱ, (num_train_timesteps) f32 on the CPU; computed as diffusers does, in f32.
  const at::Tensor& alphas_cumprod() const { return alphas_cumprod_; }
  /// latents, noise (B, C, h, w); timesteps (B) int64.
  at::Tensor add_noise(const at::Tensor& latents, const at::Tensor& noise,
                       const at::Tensor& timesteps) const;
  /// What the UNet is to predict: noise, or √ᾱ·noise − √(1−ᾱ)·latents.
  at::Tensor target(const at::Tensor& latents, const at::Tensor& noise,
                    const at::Tensor& timesteps) const;
  const NoiseScheduleConfig& config() const { return config_; }

 private:
  NoiseScheduleConfig config_;
  at::Tensor alphas_cumprod_;
};

}  // namespace kessoku::model
