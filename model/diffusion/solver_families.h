#pragma once

#include "model/diffusion/solver.h"

namespace kessoku::model {

// One function a name that make_solver knows; each throws UsageError if the schedule does not suit.

std::unique_ptr<Solver> make_ddim(const NoiseSchedule& schedule, int64_t steps,
                                  const SolverOptions& options);
std::unique_ptr<Solver> make_pndm(const NoiseSchedule& schedule, int64_t steps,
                                  const SolverOptions& options);
std::unique_ptr<Solver> make_euler(const NoiseSchedule& schedule, int64_t steps,
                                   const SolverOptions& options);
std::unique_ptr<Solver> make_euler_karras(const NoiseSchedule& schedule, int64_t steps,
                                          const SolverOptions& options);
std::unique_ptr<Solver> make_euler_ancestral(const NoiseSchedule& schedule, int64_t steps,
                                             const SolverOptions& options);
std::unique_ptr<Solver> make_dpmpp_2m(const NoiseSchedule& schedule, int64_t steps,
                                      const SolverOptions& options);
std::unique_ptr<Solver> make_dpmpp_2m_karras(const NoiseSchedule& schedule, int64_t steps,
                                             const SolverOptions& options);
std::unique_ptr<Solver> make_dpmpp_2m_sde(const NoiseSchedule& schedule, int64_t steps,
                                          const SolverOptions& options);
std::unique_ptr<Solver> make_dpmpp_2m_sde_karras(const NoiseSchedule& schedule, int64_t steps,
                                                 const SolverOptions& options);
std::unique_ptr<Solver> make_unipc(const NoiseSchedule& schedule, int64_t steps,
                                   const SolverOptions& options);

}  // namespace kessoku::model
