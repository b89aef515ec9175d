#include <ATen/TensorOperators.h>

#include <cmath>

#include "model/noise_levels.h"
#include "model/solver_families.h"

namespace kessoku::model {

namespace {

/// Karras et al., 2022, algorithm 2 without churn.
class Euler : public Solver {
 public:
  Euler(const NoiseSchedule& schedule, int64_t steps)
      : velocity_(schedule.config().prediction_type == "v_prediction") {
    const auto last = static_cast<double>(schedule.config().num_train_timesteps - 1);
    for (int64_t i = steps - 1; i >= 0; --i) {
      // In f32, as diffusers' timesteps are.
      timesteps_.push_back(steps == 1 ? 0 : static_cast<float>(last * i / (steps - 1)));
    }
    sigmas_ = sigmas_at(timesteps_, schedule);
  }

  int64_t steps() const override { return static_cast<int64_t>(timesteps_.size()); }
  double initial_scale() const override { return sigmas_[0]; }
  double timestep(int64_t i) const override { return timesteps_[static_cast<size_t>(i)]; }

  at::Tensor scale_input(const at::Tensor& latents, int64_t i) const override {
    return latents / std::hypot(sigmas_[static_cast<size_t>(i)], 1);
  }
  // Here x = x_0 + σ ε: the variance grows.
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override {
    return latents + sigmas_[static_cast<size_t>(i)] * noise;
  }
  bool needs_noise(int64_t) const override { return false; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor&) override {
    // The scaled input is the usual mixture.
    const double sigma = sigmas_[static_cast<size_t>(i)];
    const Scales scales = scales_of_sigma(sigma);
    const at::Tensor clean = predict_clean(latents * scales.signal, output, scales, velocity_);
    const at::Tensor slope = (latents - clean) / sigma;
    return latents + slope * (sigmas_[static_cast<size_t>(i) + 1] - sigma);
  }

 private:
  bool velocity_;
  Reals timesteps_;
  Reals sigmas_;
};

}  // namespace

std::unique_ptr<Solver> make_euler(const NoiseSchedule& schedule, int64_t steps) {
  return std::make_unique<Euler>(schedule, steps);
}

}  // namespace kessoku::model
