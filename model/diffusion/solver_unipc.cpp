#include <ATen/TensorOperators.h>

#include <cmath>

#include "model/diffusion/sigma_solver.h"
#include "model/diffusion/solver_families.h"

namespace kessoku::model {

namespace {

/// UniPC of order 2 with B(h) = e^h − 1 (Zhao et al., 2023, algorithms 1 and 2; "bh2"): each step
/// first corrects the latents by the output at them, then predicts the next.
class UniPc : public SigmaSolver {
 public:
  UniPc(const NoiseSchedule& schedule, int64_t steps)
      : SigmaSolver(schedule, multistep_grid(schedule, steps, /*karras=*/false)) {}

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& predicted,
                  const at::Tensor&) override {
    const at::Tensor clean = predict_clean(predicted, output, scales(i), velocity());
    const at::Tensor latents = clean_.empty() ? predicted : correct(clean, i);
    clean_.push_back(clean);
    if (clean_.size() > 2) clean_.erase(clean_.begin());
    latents_ = latents;
    if (i + 1 == steps()) return clean;  // the closing σ is 0
    const double h = lambda(i + 1) - lambda(i);
    at::Tensor direction = clean;
    if (clean_.size() == 2) {
      direction = direction + (clean_[0] - clean) * (0.5 / ((lambda(i - 1) - lambda(i)) / h));
    }
    return forward(latents, i, direction);
  }

 private:
  /// The latents before step i + 1, if x_0 is `clean` all the way.
  at::Tensor forward(const at::Tensor& latents, int64_t i, const at::Tensor& clean) const {
    const Scales now = scales(i), next = scales(i + 1);
    const double phi = std::expm1(lambda(i) - lambda(i + 1));
    return latents * (next.noise / now.noise) - clean * (next.signal * phi);
  }

  /// The latents before step `i`, now that x_0 is known there too.
  at::Tensor correct(const at::Tensor& clean, int64_t i) const {
    const at::Tensor& last = clean_.back();
    double weight = 0.5;
    at::Tensor direction = last;
    if (clean_.size() == 2) {
      // Weights that integrate polynomials of degree 2 exactly (eq. 10).
      const double h = lambda(i) - lambda(i - 1);
      const double ratio = (lambda(i - 2) - lambda(i - 1)) / h;
      const double phi_1 = std::expm1(-h);
      const double phi_2 = phi_1 / -h - 1;
      const double phi_3 = phi_2 / -h - 0.5;
      const double b_1 = phi_2 / phi_1, b_2 = 2 * phi_3 / phi_1;
      const double weight_before = (b_2 - b_1) / (ratio - 1);
      weight = b_1 - weight_before;
      direction = direction + (clean_[0] - last) * (weight_before / ratio);
    }
    return forward(latents_, i - 1, direction + (clean - last) * weight);
  }

  std::vector<at::Tensor> clean_;  ///< x_0 as predicted in the last two steps
  at::Tensor latents_;             ///< corrected, before the last step
};

}  // namespace

std::unique_ptr<Solver> make_unipc(const NoiseSchedule& schedule, int64_t steps,
                                   const SolverOptions&) {
  return std::make_unique<UniPc>(schedule, steps);
}

}  // namespace kessoku::model
