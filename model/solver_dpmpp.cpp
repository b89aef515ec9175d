#include <ATen/TensorOperators.h>

#include <cmath>

#include "model/noise_levels.h"
#include "model/solver_families.h"

namespace kessoku::model {

namespace {

/// DPM-Solver++ of order 2, midpoint (Lu et al., 2022, algorithm 2).
class DpmSolverMultistep : public Solver {
 public:
  DpmSolverMultistep(const NoiseSchedule& schedule, int64_t steps)
      : velocity_(schedule.config().prediction_type == "v_prediction") {
    const auto last = static_cast<double>(schedule.config().num_train_timesteps - 1);
    for (int64_t i = steps; i >= 1; --i) {
      timesteps_.push_back(std::nearbyint(last * i / steps));  // ties to even, as numpy rounds
    }
    sigmas_ = sigmas_at(timesteps_, schedule);
  }

  int64_t steps() const override { return static_cast<int64_t>(timesteps_.size()); }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return timesteps_[static_cast<size_t>(i)]; }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override {
    const Scales now = scales(i);
    return now.signal * latents + now.noise * noise;
  }
  bool needs_noise(int64_t) const override { return false; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor&) override {
    const Scales now = scales(i);
    const Scales next = scales(i + 1);
    const at::Tensor clean = predict_clean(latents, output, now, velocity_);
    const at::Tensor before = std::exchange(before_, clean);
    if (i + 1 == steps()) return clean;  // the closing sigma is 0
    // h = λ_next − λ_now with λ = log(signal / noise) = −log σ
    const double h = log_sigma(i) - log_sigma(i + 1);
    at::Tensor direction = clean;
    if (before.defined()) {
      const double ratio = (log_sigma(i - 1) - log_sigma(i)) / h;
      direction = clean + (clean - before) * (0.5 / ratio);
    }
    return latents * (next.noise / now.noise) - direction * (next.signal * std::expm1(-h));
  }

 private:
  Scales scales(int64_t i) const { return scales_of_sigma(sigmas_[static_cast<size_t>(i)]); }
  double log_sigma(int64_t i) const { return std::log(sigmas_[static_cast<size_t>(i)]); }

  bool velocity_;
  Reals timesteps_;
  Reals sigmas_;
  at::Tensor before_;  ///< x_0 as predicted in the step before
};

}  // namespace

std::unique_ptr<Solver> make_dpmpp_2m(const NoiseSchedule& schedule, int64_t steps) {
  return std::make_unique<DpmSolverMultistep>(schedule, steps);
}

}  // namespace kessoku::model
