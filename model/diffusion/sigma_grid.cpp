#include "model/diffusion/sigma_grid.h"

#include <ATen/TensorOperators.h>

#include <cmath>

namespace kessoku::model {

Scales scales_of_sigma(double sigma) {
  const double signal = 1 / std::hypot(sigma, 1);
  return {signal, sigma * signal};
}

at::Tensor predict_clean(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity) {
  if (velocity) return scales.signal * latents - scales.noise * output;
  return (latents - scales.noise * output) / scales.signal;
}

at::Tensor predict_noise(const at::Tensor& latents, const at::Tensor& output, Scales scales,
                         bool velocity) {
  return velocity ? scales.signal * output + scales.noise * latents : output;
}

Reals alphas_cumprod(const NoiseSchedule& schedule) {
  const at::Tensor& alphas = schedule.alphas_cumprod();
  return {alphas.data_ptr<float>(), alphas.data_ptr<float>() + alphas.numel()};
}

Reals space_timesteps(const NoiseScheduleConfig& config, int64_t steps, const char* spacing,
                      bool spare_point) {
  const std::string placing = config.timestep_spacing.empty() ? spacing : config.timestep_spacing;
  const int64_t total = config.num_train_timesteps;
  const auto last = static_cast<double>(total - 1);
  const int64_t points = steps + (spare_point ? 1 : 0);
  const double stride = static_cast<double>(total) / static_cast<double>(steps);
  // As numpy.arange goes down: its rounding errors decide which way ties go.
  const double down = static_cast<double>(total) - (static_cast<double>(total) - stride);
  Reals timesteps;
  for (int64_t i = 0; i < steps; ++i) {
    const int64_t point = points - 1 - i;
    if (placing == "trailing") {
      timesteps.push_back(
          std::nearbyint(static_cast<double>(total) - static_cast<double>(i) * down) - 1);
    } else if (placing == "leading") {
      timesteps.push_back(static_cast<double>(point * (total / points) + config.steps_offset));
    } else {
      const auto gaps = static_cast<double>(std::max<int64_t>(points - 1, 1));
      timesteps.push_back(static_cast<double>(point) * (last / gaps));
    }
  }
  return timesteps;
}

Reals training_sigmas(const NoiseSchedule& schedule) {
  Reals sigmas;
  for (const double alpha : alphas_cumprod(schedule)) {
    sigmas.push_back(std::sqrt((1 - alpha) / alpha));
  }
  if (schedule.config().zero_terminal_snr) sigmas.back() = std::sqrt((1 - 0x1p-24) / 0x1p-24);
  return sigmas;
}

Reals sigmas_at(const Reals& timesteps, const Reals& training_sigmas) {
  const size_t last = training_sigmas.size() - 1;
  Reals sigmas;
  for (const double timestep : timesteps) {
    const double t = std::min(timestep, static_cast<double>(last));
    const auto below = static_cast<size_t>(t);
    const size_t above = std::min(below + 1, last);
    sigmas.push_back(
        std::lerp(training_sigmas[below], training_sigmas[above], t - static_cast<double>(below)));
  }
  sigmas.push_back(0);
  return sigmas;
}

Reals karras_sigmas(double highest, double lowest, int64_t steps) {
  constexpr double kRho = 7;
  const double from = std::pow(highest, 1 / kRho), to = std::pow(lowest, 1 / kRho);
  Reals sigmas;
  for (int64_t i = 0; i < steps; ++i) {
    const double ramp = steps == 1 ? 0 : static_cast<double>(i) / static_cast<double>(steps - 1);
    sigmas.push_back(std::pow(from + ramp * (to - from), kRho));
  }
  sigmas.push_back(0);
  return sigmas;
}

double timestep_of_sigma(double sigma, const Reals& training_sigmas) {
  const auto above = std::upper_bound(training_sigmas.begin(), training_sigmas.end(), sigma);
  const auto index = static_cast<size_t>(std::clamp<std::ptrdiff_t>(
      above - training_sigmas.begin() - 1, 0,
      std::max<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(training_sigmas.size()) - 2, 0)));
  // In f32, as diffusers' table is: it decides where fractions are cut off.
  const auto log_at = [&](size_t t) { return std::log(static_cast<float>(training_sigmas[t])); };
  const double low = log_at(index);
  const double high = log_at(std::min(index + 1, training_sigmas.size() - 1));
  const double share =
      high > low ? std::clamp((std::log(sigma) - low) / (high - low), 0.0, 1.0) : 0;
  return static_cast<double>(index) + share;
}

}  // namespace kessoku::model
