#include "model/diffusion/sigma_solver.h"

#include <ATen/TensorOperators.h>

#include <cmath>

namespace kessoku::model {

SigmaSolver::SigmaSolver(const NoiseSchedule& schedule, StepGrid grid)
    : velocity_(schedule.config().prediction_type == "v_prediction"), grid_(std::move(grid)) {}

at::Tensor SigmaSolver::noised(const at::Tensor& latents, const at::Tensor& noise,
                               int64_t i) const {
  const Scales now = scales(i);
  return now.signal * latents + now.noise * noise;
}

double SigmaSolver::lambda(int64_t i) const { return -std::log(sigma(i)); }

StepGrid multistep_grid(const NoiseSchedule& schedule, int64_t steps, bool karras) {
  const Reals levels = training_sigmas(schedule);
  StepGrid grid;
  if (karras) {
    grid.sigmas = karras_sigmas(levels.back(), levels.front(), steps);
    for (int64_t i = 0; i < steps; ++i) {
      grid.timesteps.push_back(timestep_of_sigma(grid.sigmas[static_cast<size_t>(i)], levels));
    }
  } else {
    grid.timesteps = space_timesteps(schedule.config(), steps, "linspace", /*spare_point=*/true);
  }
  // diffusers cuts the fractions off where the betas are of a cosine; else ties go to even.
  const bool cut = karras && schedule.config().beta_schedule == "squaredcos_cap_v2";
  for (double& timestep : grid.timesteps) {
    timestep = cut ? std::trunc(timestep) : std::nearbyint(timestep);
  }
  if (!karras) grid.sigmas = sigmas_at(grid.timesteps, levels);
  return grid;
}

}  // namespace kessoku::model
