#include "model/noise_levels.h"

#include <ATen/TensorOperators.h>

#include <cmath>

namespace kessoku::model {

Scales scales_of_sigma(double sigma) {
  const double signal = 1 / std::hypot(sigma, 1);
  return {signal, sigma * signal};
}

Reals alphas_cumprod(const NoiseSchedule& schedule) {
  const at::Tensor& alphas = schedule.alphas_cumprod();
  return {alphas.data_ptr<float>(), alphas.data_ptr<float>() + alphas.numel()};
}

Reals sigmas_at(const Reals& timesteps, const NoiseSchedule& schedule) {
  const Reals alphas = alphas_cumprod(schedule);
  const auto sigma = [&](size_t t) { return std::sqrt((1 - alphas[t]) / alphas[t]); };
  Reals sigmas;
  for (const double t : timesteps) {
    const auto below = static_cast<size_t>(t);
    const size_t above = std::min(below + 1, alphas.size() - 1);
    sigmas.push_back(std::lerp(sigma(below), sigma(above), t - static_cast<double>(below)));
  }
  sigmas.push_back(0);
  return sigmas;
}

at::Tensor predict_clean(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity) {
  if (velocity) return scales.signal * latents - scales.noise * output;
  return (latents - scales.noise * output) / scales.signal;
}

}  // namespace kessoku::model
