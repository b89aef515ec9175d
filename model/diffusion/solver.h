#pragma once

#include <memory>

#include "model/diffusion/noise_schedule.h"

namespace kessoku::model {

/// Walks from noise to latents in a fixed number of steps, each one given the UNet's output. The
/// steps and their formulas are those of diffusers' schedulers made `from_config` of the model's
/// scheduler_config.json; docs/solvers.md lists them.
///
/// One object a batch of images. Its steps are taken in order, beginning at any index (image →
/// image begins late): first, first + 1, … steps() − 1. Not for concurrent use.
class Solver {
 public:
  virtual ~Solver() = default;

  /// Calls of the UNet; a solver may take more of them than it was asked for.
  virtual int64_t steps() const = 0;
  /// What unit normal latents are multiplied by before step 0.
  virtual double initial_scale() const = 0;
  /// The UNet's timestep at step `i`; not always a whole number.
  virtual double timestep(int64_t i) const = 0;
  /// The UNet's input at step `i`.
  virtual at::Tensor scale_input(const at::Tensor& latents, int64_t i) const = 0;
  /// Clean `latents` as they stand before step `i`, mixed with unit normal `noise` of the same
  /// shape; the latents themselves if `i` is steps().
  virtual at::Tensor noised(const at::Tensor& latents, const at::Tensor& noise,
                            int64_t i) const = 0;
  /// Whether step `i` adds noise, which it then must be given.
  virtual bool needs_noise(int64_t i) const = 0;
  /// The latents after step `i`, given the UNet's `output` (B, C, h, w) for the scaled latents, and
  /// unit normal `noise` of the same shape if the step needs it.
  virtual at::Tensor step(const at::Tensor& output, int64_t i, const at::Tensor& latents,
                          const at::Tensor& noise = {}) = 0;
};

struct SolverOptions {
  /// ddim: 0 = no noise is added, 1 = as much as in DDPM (Song et al., 2021, eq. 16).
  double eta = 0;
};

/// Throws UsageError on an unknown name, if `steps` is not 1 … num_train_timesteps − 1, on options
/// that the solver has not, or if the schedule does not suit it.
std::unique_ptr<Solver> make_solver(const std::string& name, const NoiseSchedule& schedule,
                                    int64_t steps, const SolverOptions& options = {});

/// The names that make_solver knows.
std::vector<std::string> solver_names();

/// What A1111's web UI calls the solver; `name` itself if there is no such solver.
std::string web_ui_solver_name(const std::string& name);

}  // namespace kessoku::model
