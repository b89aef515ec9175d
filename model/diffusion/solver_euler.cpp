#include <ATen/TensorOperators.h>

#include <cmath>

#include "model/diffusion/sigma_solver.h"
#include "model/diffusion/solver_families.h"

namespace kessoku::model {

namespace {

/// "linspace" by default; timesteps are fractions, in f32 as diffusers'.
StepGrid euler_grid(const NoiseSchedule& schedule, int64_t steps, bool karras) {
  const Reals levels = training_sigmas(schedule);
  StepGrid grid;
  grid.timesteps = space_timesteps(schedule.config(), steps, "linspace", /*spare_point=*/false);
  for (double& timestep : grid.timesteps) timestep = static_cast<float>(timestep);
  grid.sigmas = sigmas_at(grid.timesteps, levels);
  if (!karras) return grid;
  grid.sigmas = karras_sigmas(grid.sigmas[0], grid.sigmas[static_cast<size_t>(steps) - 1], steps);
  for (size_t i = 0; i < grid.timesteps.size(); ++i) {
    grid.timesteps[i] = static_cast<float>(timestep_of_sigma(grid.sigmas[i], levels));
  }
  return grid;
}

/// Karras et al., 2022, algorithm 2 without churn. Here x = x_0 + σ ε: the variance grows.
class Euler : public SigmaSolver {
 public:
  Euler(const NoiseSchedule& schedule, int64_t steps, bool karras)
      : SigmaSolver(schedule, euler_grid(schedule, steps, karras)),
        initial_scale_(schedule.config().timestep_spacing == "leading" ? std::hypot(sigma(0), 1)
                                                                       : sigma(0)) {}

  double initial_scale() const override { return initial_scale_; }
  at::Tensor scale_input(const at::Tensor& latents, int64_t i) const override {
    return latents * scales(i).signal;
  }
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override {
    return latents + sigma(i) * noise;
  }
  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor&) override {
    return move(output, i, latents, sigma(i + 1));
  }

 protected:
  /// Along the slope at step `i` to the noise level `to`.
  at::Tensor move(const at::Tensor& output, int64_t i, const at::Tensor& latents, double to) const {
    const at::Tensor noise = predict_noise(scale_input(latents, i), output, scales(i), velocity());
    return latents + noise * (to - sigma(i));
  }

 private:
  double initial_scale_;
};

/// Goes below the next noise level and comes back up with new noise (k-diffusion's
/// sample_euler_ancestral).
class EulerAncestral : public Euler {
 public:
  EulerAncestral(const NoiseSchedule& schedule, int64_t steps)
      : Euler(schedule, steps, /*karras=*/false) {}

  bool needs_noise(int64_t i) const override { return sigma(i + 1) > 0; }
  at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                  const at::Tensor& noise) override {
    const double from = sigma(i), to = sigma(i + 1);
    const double down = to * to / from;
    const at::Tensor moved = move(output, i, latents, down);
    return to > 0 ? moved + noise * std::sqrt(to * to - down * down) : moved;
  }
};

}  // namespace

std::unique_ptr<Solver> make_euler(const NoiseSchedule& schedule, int64_t steps,
                                   const SolverOptions&) {
  return std::make_unique<Euler>(schedule, steps, /*karras=*/false);
}

std::unique_ptr<Solver> make_euler_karras(const NoiseSchedule& schedule, int64_t steps,
                                          const SolverOptions&) {
  return std::make_unique<Euler>(schedule, steps, /*karras=*/true);
}

std::unique_ptr<Solver> make_euler_ancestral(const NoiseSchedule& schedule, int64_t steps,
                                             const SolverOptions&) {
  return std::make_unique<EulerAncestral>(schedule, steps);
}

}  // namespace kessoku::model
