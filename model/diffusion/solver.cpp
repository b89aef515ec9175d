#include "model/diffusion/solver.h"

#include "base/error.h"
#include "model/diffusion/solver_families.h"

namespace kessoku::model {

namespace {

struct Entry {
  const char* name;
  std::unique_ptr<Solver> (*make)(const NoiseSchedule&, int64_t, const SolverOptions&);
};

constexpr Entry kSolvers[] = {{"ddim", make_ddim},
                              {"pndm", make_pndm},
                              {"euler", make_euler},
                              {"euler_karras", make_euler_karras},
                              {"euler_a", make_euler_ancestral},
                              {"dpmpp_2m", make_dpmpp_2m},
                              {"dpmpp_2m_karras", make_dpmpp_2m_karras},
                              {"dpmpp_2m_sde", make_dpmpp_2m_sde},
                              {"dpmpp_2m_sde_karras", make_dpmpp_2m_sde_karras},
                              {"unipc", make_unipc}};

}  // namespace

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
  if (options.eta > 0 && name != "ddim") {
    throw UsageError(fmt::format("eta = {}: only ddim has it, not {}", options.eta, name));
  }
  for (const Entry& entry : kSolvers) {
    if (name == entry.name) return entry.make(schedule, steps, options);
  }
  const std::string near = nearest_word(name, solver_names());
  throw UsageError(fmt::format("unknown solver \"{}\"; {}", name,
                               near.empty()
                                   ? fmt::format("use one of {}", fmt::join(solver_names(), ", "))
                                   : fmt::format("did you mean \"{}\"?", near)));
}

std::vector<std::string> solver_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kSolvers) names.emplace_back(entry.name);
  return names;
}

}  // namespace kessoku::model
