#include <ATen/TensorOperators.h>

#include "base/error.h"
#include "model/diffusion/solver.h"
#include "model/diffusion/solver_families.h"
#include "model/diffusion/timestep_grid.h"

namespace kessoku::model {

namespace {

/// Pseudo linear multistep (Liu et al., 2022, eq. 12), without the Runge–Kutta start
/// (skip_prk_steps, as Stable Diffusion's configs have it): the first step is taken twice instead,
/// the second time with the mean of both ends' noise.
class Pndm : public Solver {
 public:
  Pndm(const NoiseSchedule& schedule, int64_t steps)
      : ladder_(schedule, steps, /*alpha_to_one=*/false) {}

  int64_t steps() const override { return ladder_.steps() + (ladder_.steps() > 1 ? 1 : 0); }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return static_cast<double>(whole_timestep(i)); }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override {
    if (i == steps()) return latents;
    const Scales now = ladder_.scales(whole_timestep(i));
    return now.signal * latents + now.noise * noise;
  }
  bool needs_noise(int64_t) const override { return false; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor&) override {
    const int64_t timestep = whole_timestep(i);
    if (taken_++ == 1) {
      const at::Tensor mean = (output + outputs_.back()) / 2;
      return move(std::exchange(first_latents_, {}), mean, timestep + ladder_.stride(), timestep);
    }
    if (outputs_.empty()) first_latents_ = latents;
    outputs_.push_back(output);
    if (outputs_.size() > 4) outputs_.erase(outputs_.begin());
    return move(latents, extrapolate(), timestep, timestep - ladder_.stride());
  }

 private:
  int64_t whole_timestep(int64_t i) const { return ladder_.timestep(i < 2 ? i : i - 1); }

  /// Adams–Bashforth over the outputs so far.
  at::Tensor extrapolate() const {
    const auto e = [this](size_t ago) { return outputs_[outputs_.size() - 1 - ago]; };
    switch (outputs_.size()) {
      case 1:
        return e(0);
      case 2:
        return (3 * e(0) - e(1)) / 2;
      case 3:
        return (23 * e(0) - 16 * e(1) + 5 * e(2)) / 12;
      default:
        return (55 * e(0) - 59 * e(1) + 37 * e(2) - 9 * e(3)) / 24;
    }
  }

  /// Eq. 9, which is DDIM's step.
  at::Tensor move(const at::Tensor& latents, const at::Tensor& output, int64_t from,
                  int64_t to) const {
    const Scales now = ladder_.scales(from), next = ladder_.scales(to);
    const double growth = next.signal / now.signal;
    return growth * latents + (next.noise - growth * now.noise) *
                                  predict_noise(latents, output, now, ladder_.velocity());
  }

  TimestepLadder ladder_;
  int64_t taken_ = 0;
  at::Tensor first_latents_;
  std::vector<at::Tensor> outputs_;  ///< the last four
};

}  // namespace

std::unique_ptr<Solver> make_pndm(const NoiseSchedule& schedule, int64_t steps,
                                  const SolverOptions&) {
  if (schedule.config().zero_terminal_snr) {
    throw UsageError("pndm cannot begin at pure noise (rescale_betas_zero_snr); use ddim or euler");
  }
  return std::make_unique<Pndm>(schedule, steps);
}

}  // namespace kessoku::model
