#include <ATen/TensorOperators.h>

#include <cmath>

#include "model/noise_levels.h"
#include "model/solver_families.h"

namespace kessoku::model {

namespace {

/// Song et al., 2021, eq. 12 with η = 0.
class Ddim : public Solver {
 public:
  Ddim(const NoiseSchedule& schedule, int64_t steps)
      : alphas_(alphas_cumprod(schedule)),
        velocity_(schedule.config().prediction_type == "v_prediction"),
        steps_(steps),
        stride_(schedule.config().num_train_timesteps / steps) {}

  int64_t steps() const override { return steps_; }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return static_cast<double>(whole_timestep(i)); }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override {
    if (i == steps_) return latents;
    const Scales now = scales(whole_timestep(i));
    return now.signal * latents + now.noise * noise;
  }
  bool needs_noise(int64_t) const override { return false; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor&) override {
    const Scales now = scales(whole_timestep(i));
    const Scales next = scales(whole_timestep(i) - stride_);
    const at::Tensor clean = predict_clean(latents, output, now, velocity_);
    const at::Tensor noise = (latents - now.signal * clean) / now.noise;
    return next.signal * clean + next.noise * noise;
  }

 private:
  int64_t whole_timestep(int64_t i) const { return (steps_ - 1 - i) * stride_ + 1; }
  /// Before the first timestep stands ᾱ of the first one (set_alpha_to_one false).
  Scales scales(int64_t timestep) const {
    const double alpha = alphas_[static_cast<size_t>(std::max<int64_t>(timestep, 0))];
    return {std::sqrt(alpha), std::sqrt(1 - alpha)};
  }

  Reals alphas_;
  bool velocity_;
  int64_t steps_;
  int64_t stride_;
};

}  // namespace

std::unique_ptr<Solver> make_ddim(const NoiseSchedule& schedule, int64_t steps) {
  return std::make_unique<Ddim>(schedule, steps);
}

}  // namespace kessoku::model
