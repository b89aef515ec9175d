#include <ATen/TensorOperators.h>

#include <cmath>

#include "model/diffusion/sigma_solver.h"
#include "model/diffusion/solver_families.h"

namespace kessoku::model {

namespace {

/// DPM-Solver++ of order 2, multistep, midpoint (Lu et al., 2022, algorithm 2), and its SDE form.
class DpmSolverMultistep : public SigmaSolver {
 public:
  DpmSolverMultistep(const NoiseSchedule& schedule, int64_t steps, bool stochastic, bool karras)
      : SigmaSolver(schedule, multistep_grid(schedule, steps, karras)), stochastic_(stochastic) {}

  bool needs_noise(int64_t i) const override { return stochastic_ && i + 1 < steps(); }

  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor& noise) override {
    const Scales now = scales(i), next = scales(i + 1);
    const at::Tensor clean = predict_clean(latents, output, now, velocity());
    const at::Tensor before = std::exchange(before_, clean);
    if (i + 1 == steps()) return clean;  // the closing σ is 0
    const double h = lambda(i + 1) - lambda(i);
    at::Tensor direction = clean;
    if (before.defined()) {
      const double ratio = (lambda(i) - lambda(i - 1)) / h;
      direction = clean + (clean - before) * (0.5 / ratio);
    }
    const double kept = next.noise / now.noise;
    if (!stochastic_) return latents * kept - direction * (next.signal * std::expm1(-h));
    const double fresh = -std::expm1(-2 * h);  // share of the variance that is new
    return latents * (kept * std::exp(-h)) + direction * (next.signal * fresh) +
           noise * (next.noise * std::sqrt(fresh));
  }

 private:
  bool stochastic_;
  at::Tensor before_;  ///< x_0 as predicted in the step before
};

}  // namespace

std::unique_ptr<Solver> make_dpmpp_2m(const NoiseSchedule& schedule, int64_t steps,
                                      const SolverOptions&) {
  return std::make_unique<DpmSolverMultistep>(schedule, steps, false, /*karras=*/false);
}

std::unique_ptr<Solver> make_dpmpp_2m_karras(const NoiseSchedule& schedule, int64_t steps,
                                             const SolverOptions&) {
  return std::make_unique<DpmSolverMultistep>(schedule, steps, false, /*karras=*/true);
}

std::unique_ptr<Solver> make_dpmpp_2m_sde(const NoiseSchedule& schedule, int64_t steps,
                                          const SolverOptions&) {
  return std::make_unique<DpmSolverMultistep>(schedule, steps, true, /*karras=*/false);
}

std::unique_ptr<Solver> make_dpmpp_2m_sde_karras(const NoiseSchedule& schedule, int64_t steps,
                                                 const SolverOptions&) {
  return std::make_unique<DpmSolverMultistep>(schedule, steps, true, /*karras=*/true);
}

}  // namespace kessoku::model
