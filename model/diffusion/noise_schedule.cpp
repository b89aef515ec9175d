#include "model/diffusion/noise_schedule.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cumprod.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <numbers>

namespace kessoku::model {

namespace {

/// Of a cosine-shaped ᾱ (Nichol and Dhariwal, 2021, eq. 17).
at::Tensor cosine_betas(int64_t count) {
  const auto alpha_bar = [](double t) {
    return std::pow(std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2), 2);
  };
  std::vector<float> betas;
  for (int64_t i = 0; i < count; ++i) {
    const double now = static_cast<double>(i) / static_cast<double>(count);
    const double next = static_cast<double>(i + 1) / static_cast<double>(count);
    betas.push_back(static_cast<float>(std::min(1 - alpha_bar(next) / alpha_bar(now), 0.999)));
  }
  return at::tensor(betas, at::kFloat);
}

/// Shifts and scales √ᾱ so that it ends at 0 and begins where it did (Lin et al., 2024, algorithm
/// 1).
at::Tensor rescale_to_zero_snr(const at::Tensor& betas) {
  const at::Tensor roots = (1 - betas).cumprod(0).sqrt();
  const at::Tensor first = roots[0], last = roots[-1];
  const at::Tensor alphas_cumprod = ((roots - last) * (first / (first - last))).pow(2);
  const int64_t rest = alphas_cumprod.size(0) - 1;
  return 1 - at::cat({alphas_cumprod.narrow(0, 0, 1),
                      alphas_cumprod.narrow(0, 1, rest) / alphas_cumprod.narrow(0, 0, rest)});
}

at::Tensor make_betas(const NoiseScheduleConfig& config) {
  const int64_t count = config.num_train_timesteps;
  const auto linspace = [count](double start, double end) {
    return at::linspace(start, end, count, at::TensorOptions(at::kFloat));
  };
  if (config.beta_schedule == "squaredcos_cap_v2") return cosine_betas(count);
  if (config.beta_schedule == "linear") return linspace(config.beta_start, config.beta_end);
  return linspace(std::sqrt(config.beta_start), std::sqrt(config.beta_end)).pow(2);
}

at::Tensor at_timesteps(const at::Tensor& alphas_cumprod, const at::Tensor& timesteps) {
  return alphas_cumprod.to(timesteps.device()).index_select(0, timesteps);
}

/// √ᾱ and √(1 − ᾱ) at `timesteps`, shaped to multiply `like`.
std::pair<at::Tensor, at::Tensor> coefficients(const at::Tensor& alphas_cumprod,
                                               const at::Tensor& timesteps,
                                               const at::Tensor& like) {
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[0] = -1;
  const at::Tensor alpha = at_timesteps(alphas_cumprod, timesteps).to(like.options());
  return {alpha.sqrt().view(shape), (1 - alpha).sqrt().view(shape)};
}

}  // namespace

NoiseSchedule::NoiseSchedule(const NoiseScheduleConfig& config, at::Device device)
    : config_(config) {
  at::Tensor betas = make_betas(config);
  if (config.zero_terminal_snr) betas = rescale_to_zero_snr(betas);
  alphas_cumprod_ = (1 - betas).cumprod(0).to(device);
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

at::Tensor NoiseSchedule::min_snr_weights(const at::Tensor& timesteps, double gamma) const {
  const at::Tensor alpha = at_timesteps(alphas_cumprod_, timesteps);
  const at::Tensor snr = alpha / (1 - alpha);
  if (config_.prediction_type == "v_prediction") return snr.clamp_max(gamma) / (snr + 1);
  return (gamma / snr).clamp_max(1);
}

}  // namespace kessoku::model
