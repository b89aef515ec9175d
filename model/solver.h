#pragma once

#include "model/noise_schedule.h"

namespace kessoku::model {

/// Walks from noise to latents in a fixed number of steps, each one given the UNet's output. The
/// steps and their formulas are those of diffusers' schedulers made `from_config` of an SD 1.5
/// scheduler_config.json (steps_offset 1, set_alpha_to_one false, clip_sample false, each
/// scheduler's own timestep_spacing):
///
///     ddim       DDIMScheduler, η = 0, "leading" spacing (Song et al., 2021, eq. 12)
///     euler      EulerDiscreteScheduler, "linspace", fractional timesteps (Karras et al., 2022,
///     algorithm 2 without churn) dpmpp_2m   DPMSolverMultistepScheduler, DPM-Solver++ of order 2,
///     midpoint, "linspace" (Lu et al., 2022, algorithm 2)
///
/// One object a batch of pictures, its steps taken in order 0, 1, …; not for concurrent use.
class Solver {
 public:
  virtual ~Solver() = default;

  virtual int64_t steps() const = 0;
  /// What unit normal latents are multiplied by before step 0.
  virtual double initial_scale() const = 0;
  /// The UNet's timestep at step `i`; a whole number but for euler.
  virtual double timestep(int64_t i) const = 0;
  /// The UNet's input at step `i`.
  virtual at::Tensor scale_input(const at::Tensor& latents, int64_t i) const = 0;
  /// The latents after step `i`, given the UNet's `output` (B, C, h, w) for the scaled latents.
  virtual at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents) = 0;
};

/// Throws UsageError on an unknown name or if `steps` is not 1 … num_train_timesteps − 1.
std::unique_ptr<Solver> make_solver(const std::string& name, const NoiseSchedule& schedule,
                                    int64_t steps);

/// The names that make_solver knows.
std::vector<std::string> solver_names();

}  // namespace kessoku::model
