#pragma once

#include <vector>

#include "model/diffusion/noise_schedule.h"

namespace kessoku::model {

using Reals = std::vector<double>;

/// The scale of signal and noise in latents: x = signal · x_0 + noise · ε.
struct Scales {
  double signal;
  double noise;
};

/// Scales of variance 1 whose ratio noise / signal is `sigma`.
Scales scales_of_sigma(double sigma);

/// x_0 and ε as the UNet's output for `latents` of these scales tells them; `velocity` is v
/// prediction (Salimans and Ho, 2022, appendix D).
at::Tensor predict_clean(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity);
at::Tensor predict_noise(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity);

/// ᾱ of each training timestep.
Reals alphas_cumprod(const NoiseSchedule& schedule);

/// Training timesteps from high to low, spaced as Lin et al., 2024, table 2, names it: "leading",
/// "trailing" or "linspace"; `spacing` is for models whose scheduler_config.json has no
/// timestep_spacing. With a spare point there is one more, and the lowest is left out. Those of
/// linspace are not rounded.
Reals space_timesteps(const NoiseScheduleConfig& config, int64_t steps, const char* spacing,
                      bool spare_point);

/// Where the steps of a solver that thinks in σ = √((1 − ᾱ) / ᾱ) stand.
struct StepGrid {
  Reals timesteps;
  Reals sigmas;  ///< one more: the last is 0
};

/// σ of each training timestep; where zero-terminal SNR makes it infinite, diffusers' 4096.
Reals training_sigmas(const NoiseSchedule& schedule);

/// σ at each (fractional) timestep, and the closing 0.
Reals sigmas_at(const Reals& timesteps, const Reals& training_sigmas);

/// `steps` levels from `highest` down to `lowest` (Karras et al., 2022, eq. 5, ρ = 7), and the
/// closing 0.
Reals karras_sigmas(double highest, double lowest, int64_t steps);

/// The (fractional) timestep at which training sees `sigma`, by log σ.
double timestep_of_sigma(double sigma, const Reals& training_sigmas);

}  // namespace kessoku::model
