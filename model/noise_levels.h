#pragma once

#include <vector>

#include "model/noise_schedule.h"

namespace kessoku::model {

using Reals = std::vector<double>;

/// The scale of signal and noise in latents: x = signal · x_0 + noise · ε.
struct Scales {
  double signal;
  double noise;
};

/// Scales of variance 1 whose ratio noise / signal is `sigma`.
Scales scales_of_sigma(double sigma);

/// ᾱ of each training timestep.
Reals alphas_cumprod(const NoiseSchedule& schedule);

/// √((1 − ᾱ) / ᾱ) at each timestep, interpolated between training timesteps, and a closing 0.
Reals sigmas_at(const Reals& timesteps, const NoiseSchedule& schedule);

/// x_0 as the UNet's output for `latents` of these scales tells it (Salimans and Ho, 2022, appendix
/// D); `velocity` is v prediction.
at::Tensor predict_clean(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity);

}  // namespace kessoku::model
