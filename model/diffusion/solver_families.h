#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>

// Without LibTorch: the command line's help lists the solvers.
namespace kessoku::model {

class NoiseSchedule;
class Solver;
struct SolverOptions;

/// Throws UsageError if the schedule does not suit the solver.
using SolverMaker = std::unique_ptr<Solver>(const NoiseSchedule& schedule, int64_t steps,
                                            const SolverOptions& options);

SolverMaker make_ddim;
SolverMaker make_pndm;
SolverMaker make_euler;
SolverMaker make_euler_karras;
SolverMaker make_euler_ancestral;
SolverMaker make_dpmpp_2m;
SolverMaker make_dpmpp_2m_karras;
SolverMaker make_dpmpp_2m_sde;
SolverMaker make_dpmpp_2m_sde_karras;
SolverMaker make_unipc;

struct SolverEntry {
  const char* name;
  const char* web_ui_name;  ///< what A1111's web UI calls it
  SolverMaker* make;
  bool has_eta = false;
};

/// All solvers, in the order in which they are listed.
inline constexpr SolverEntry kSolvers[] = {
    {"ddim", "DDIM", make_ddim, true},
    {"pndm", "PLMS", make_pndm},
    {"euler", "Euler", make_euler},
    {"euler_karras", "Euler Karras", make_euler_karras},
    {"euler_a", "Euler a", make_euler_ancestral},
    {"dpmpp_2m", "DPM++ 2M", make_dpmpp_2m},
    {"dpmpp_2m_karras", "DPM++ 2M Karras", make_dpmpp_2m_karras},
    {"dpmpp_2m_sde", "DPM++ 2M SDE", make_dpmpp_2m_sde},
    {"dpmpp_2m_sde_karras", "DPM++ 2M SDE Karras", make_dpmpp_2m_sde_karras},
    {"unipc", "UniPC", make_unipc},
};

/// Their names; a program that uses no more than these need not link the solvers.
inline constexpr auto kSolverNames = [] {
  std::array<const char*, std::size(kSolvers)> names{};
  for (size_t i = 0; i < names.size(); ++i) names[i] = kSolvers[i].name;
  return names;
}();

}  // namespace kessoku::model
