#include "model/diffusion/solver.h"

#include "base/error.h"
#include "model/diffusion/solver_families.h"

namespace kessoku::model {

std::unique_ptr<Solver> make_solver(const std::string& name, const NoiseSchedule& schedule,
                                    int64_t steps, const SolverOptions& options) {
  const int64_t most = schedule.config().num_train_timesteps - 1;
  if (steps < 1 || steps > most) {
    throw UsageError(
        fmt::format("{} steps: the number of sampling steps must be 1 to {}", steps, most));
  }
  if (!(options.eta >= 0 && options.eta <= 1)) {
    throw UsageError(fmt::format("eta = {} must be between 0 and 1", options.eta));
  }
  for (const SolverEntry& entry : kSolvers) {
    if (name != entry.name) continue;
    if (options.eta > 0 && !entry.has_eta)
      throw UsageError(fmt::format("eta = {}: {} does not have it", options.eta, name));
    return entry.make(schedule, steps, options);
  }
  const std::string near = nearest_word(name, solver_names());
  throw UsageError(fmt::format("unknown solver \"{}\"; {}", name,
                               near.empty()
                                   ? fmt::format("use one of {}", fmt::join(solver_names(), ", "))
                                   : fmt::format("did you mean \"{}\"?", near)));
}

std::vector<std::string> solver_names() { return {kSolverNames.begin(), kSolverNames.end()}; }

std::string web_ui_solver_name(const std::string& name) {
  for (const SolverEntry& entry : kSolvers) {
    if (name == entry.name) return entry.web_ui_name;
  }
  return name;
}

}  // namespace kessoku::model
