#include <ATen/TensorOperators.h>

#include <cmath>

#include "base/error.h"
#include "model/diffusion/solver.h"
#include "model/diffusion/solver_families.h"
#include "model/diffusion/timestep_grid.h"

namespace kessoku::model {

namespace {

/// Song et al., 2021, eq. 12 and 16.
class Ddim : public Solver {
 public:
  Ddim(const NoiseSchedule& schedule, int64_t steps, double eta)
      : ladder_(schedule, steps, /*alpha_to_one=*/true), eta_(eta) {}

  int64_t steps() const override { return ladder_.steps(); }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return static_cast<double>(ladder_.timestep(i)); }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override {
    if (i == steps()) return latents;
    const Scales now = ladder_.scales(ladder_.timestep(i));
    return now.signal * latents + now.noise * noise;
  }
  bool needs_noise(int64_t i) const override { return deviation(i) > 0; }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor& noise) override {
    const Scales now = ladder_.scales(ladder_.timestep(i));
    const Scales next = ladder_.scales(ladder_.timestep(i) - ladder_.stride());
    if (now.signal == 0 && !ladder_.velocity()) {
      throw UsageError(
          "ddim cannot begin at pure noise with a model that predicts noise: nothing tells the "
          "image; use another solver or timestep_spacing \"leading\"");
    }
    const at::Tensor clean = predict_clean(latents, output, now, ladder_.velocity());
    const at::Tensor direction = predict_noise(latents, output, now, ladder_.velocity());
    const double fresh = deviation(i);
    const at::Tensor moved =
        next.signal * clean +
        std::sqrt(std::max(0.0, next.noise * next.noise - fresh * fresh)) * direction;
    return fresh > 0 ? moved + fresh * noise : moved;
  }

 private:
  /// Of the noise that step `i` adds.
  double deviation(int64_t i) const {
    if (eta_ == 0) return 0;
    const Scales now = ladder_.scales(ladder_.timestep(i));
    const Scales next = ladder_.scales(ladder_.timestep(i) - ladder_.stride());
    const double kept = std::pow(now.signal / next.signal, 2);
    return eta_ * next.noise / now.noise * std::sqrt(std::max(0.0, 1 - kept));
  }

  TimestepLadder ladder_;
  double eta_;
};

}  // namespace

std::unique_ptr<Solver> make_ddim(const NoiseSchedule& schedule, int64_t steps,
                                  const SolverOptions& options) {
  return std::make_unique<Ddim>(schedule, steps, options.eta);
}

}  // namespace kessoku::model
