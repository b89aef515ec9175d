#pragma once

#include <ATen/core/Tensor.h>

#include "model/diffusion/noise_schedule_config.h"

namespace kessoku::model {

/// The forward process q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I) (Ho et al., 2020).
class NoiseSchedule {
 public:
  /// For latents of `device`; those of another cost a copy of the schedule at each call.
  explicit NoiseSchedule(const NoiseScheduleConfig& config, at::Device device = at::kCPU);

  /// ᾱ, (num_train_timesteps) f32; computed as diffusers does, in f32 on the CPU.
  const at::Tensor& alphas_cumprod() const { return alphas_cumprod_; }
  /// latents, noise (B, C, h, w); timesteps (B) int64.
  at::Tensor add_noise(const at::Tensor& latents, const at::Tensor& noise,
                       const at::Tensor& timesteps) const;
  /// What the UNet is to predict: noise, or √ᾱ·noise − √(1−ᾱ)·latents.
  at::Tensor target(const at::Tensor& latents, const at::Tensor& noise,
                    const at::Tensor& timesteps) const;
  /// (B) f32: the loss weights of min-SNR-γ (Hang et al., 2023), with SNR = ᾱ / (1 − ᾱ):
  /// min(SNR, γ) / SNR for noise, which is 1 where the SNR is 0; min(SNR, γ) / (SNR + 1) for v
  /// prediction.
  at::Tensor min_snr_weights(const at::Tensor& timesteps, double gamma) const;
  const NoiseScheduleConfig& config() const { return config_; }

 private:
  NoiseScheduleConfig config_;
  at::Tensor alphas_cumprod_;
};

}  // namespace kessoku::model
