#pragma once

#include "model/diffusion/sigma_grid.h"
#include "model/diffusion/solver.h"

namespace kessoku::model {

/// What solvers that think in σ have in common. Their latents are of variance 1 unless they
/// override it.
class SigmaSolver : public Solver {
 public:
  int64_t steps() const override { return static_cast<int64_t>(grid_.timesteps.size()); }
  double initial_scale() const override { return 1; }
  double timestep(int64_t i) const override { return grid_.timesteps[static_cast<size_t>(i)]; }
  at::Tensor scale_input(const at::Tensor& latents, int64_t) const override { return latents; }
  at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise, int64_t i) const override;
  bool needs_noise(int64_t) const override { return false; }

 protected:
  SigmaSolver(const NoiseSchedule& schedule, StepGrid grid);

  /// Before step `i`; 0 at steps().
  double sigma(int64_t i) const { return grid_.sigmas[static_cast<size_t>(i)]; }
  Scales scales(int64_t i) const { return scales_of_sigma(sigma(i)); }
  /// λ = log(signal / noise); infinite at steps().
  double lambda(int64_t i) const;
  bool velocity() const { return velocity_; }

 private:
  bool velocity_;
  StepGrid grid_;
};

/// The grid of diffusers' DPMSolverMultistepScheduler and UniPCMultistepScheduler: "linspace" by
/// default, whole timesteps.
StepGrid multistep_grid(const NoiseSchedule& schedule, int64_t steps, bool karras);

}  // namespace kessoku::model
