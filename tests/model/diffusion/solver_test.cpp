#include "model/diffusion/solver.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include <sstream>

#include "base/error.h"
#include "tests/model/python_oracle.h"

namespace kessoku::model {
namespace {

using kessoku::testing::largest_difference;
using kessoku::testing::read_json;
using kessoku::testing::run_oracle;
using kessoku::testing::TemporaryFolder;
using kessoku::testing::tensor_of;
using nlohmann::json;

/// Latents of solvers whose variance grows are of the size of σ, and small ones keep the rounding
/// errors (1e-7) of the `largest` ones before them.
void expect_close(const at::Tensor& ours, const json& theirs, const char* what, int64_t step,
                  double largest = 0) {
  const at::Tensor expected = tensor_of(theirs);
  const double size = std::max(1.0, expected.abs().max().item<double>());
  EXPECT_LE(largest_difference(ours, expected), 1e-4 * size + 2e-7 * largest)
      << what << ", step " << step;
}

std::unique_ptr<Solver> make_named(const std::string& name, const json& config, int64_t steps) {
  std::istringstream words(name);
  std::string solver;
  SolverOptions options;
  words >> solver >> options.eta;
  const auto read = NoiseScheduleConfig::from_json(config, "scheduler_config.json");
  return make_solver(solver, NoiseSchedule(read), steps, options);
}

void expect_same_walk(const json& config, const json& walk) {
  const std::string name = walk["solver"].get<std::string>();
  const auto solver = make_named(name, config, walk["steps"].get<int64_t>());
  const auto first = walk["first"].get<int64_t>();
  const at::Tensor clean = tensor_of(walk["clean"]), unit = tensor_of(walk["unit"]);
  at::Tensor latents =
      first == 0 ? unit * solver->initial_scale() : solver->noised(clean, unit, first);
  expect_close(latents, walk["start"], "start", first);
  const json& records = walk["records"];
  double largest = 0;
  ASSERT_EQ(solver->steps() - first, static_cast<int64_t>(records.size()));
  for (int64_t i = first; i < solver->steps(); ++i) {
    const json& record = records[static_cast<size_t>(i - first)];
    EXPECT_NEAR(solver->timestep(i), record[0].get<double>(), 1e-3) << "step " << i;
    expect_close(solver->scale_input(latents, i), record[1], "input", i, largest);
    largest = std::max(largest, latents.abs().max().item<double>());
    latents = solver->step(tensor_of(record[2]), i, latents,
                           solver->needs_noise(i) ? tensor_of(record[3]) : at::Tensor());
    expect_close(latents, record[4], "latents", i, largest);
    expect_close(solver->noised(clean, unit, i + 1), record[5], "noised", i + 1);
  }
}

TEST(Solver, EqualsDiffusersSchedulerStepByStep) {
  TemporaryFolder folder;
  run_oracle("diffusion/schedule_oracle.py", {"solver", folder.path() / "oracle.json"});
  const json oracle = read_json(folder.path() / "oracle.json");

  std::set<std::string> seen;
  size_t walks = 0;
  for (const json& theirs : oracle["walks"]) {
    for (const json& walk : theirs["walks"]) {
      SCOPED_TRACE(fmt::format("{}, {} steps from {}, {}", walk["solver"].dump(),
                               walk["steps"].dump(), walk["first"].dump(),
                               theirs["config"].dump()));
      expect_same_walk(theirs["config"], walk);
      seen.insert(walk["solver"].get<std::string>());
      ++walks;
    }
  }
  for (const std::string& name : solver_names()) EXPECT_TRUE(seen.contains(name)) << name;
  EXPECT_GE(walks, 800u);

  for (const json& theirs : oracle["timesteps"]) {
    const auto solver = make_named(theirs["solver"].get<std::string>(), theirs["config"],
                                   theirs["steps"].get<int64_t>());
    std::vector<double> ours;
    for (int64_t i = 0; i < solver->steps(); ++i) ours.push_back(solver->timestep(i));
    EXPECT_THAT(ours, ::testing::Pointwise(::testing::DoubleNear(1e-3),
                                           theirs["timesteps"].get<std::vector<double>>()))
        << theirs["solver"] << ", " << theirs["steps"] << " steps, " << theirs["config"];
  }
}

TEST(Solver, WalksFromPureNoiseWithoutNonNumbers) {
  NoiseScheduleConfig config{.prediction_type = "v_prediction"};
  config.use_zero_terminal_snr();
  for (const std::string& name : solver_names()) {
    if (name == "pndm") continue;
    for (const int64_t steps : {1, 2, 4, 61}) {
      const auto solver = make_solver(name, NoiseSchedule(config), steps);
      at::Tensor latents = at::ones({1, 1, 2, 2}) * solver->initial_scale();
      for (int64_t i = 0; i < solver->steps(); ++i) {
        latents = solver->step(solver->scale_input(latents, i), i, latents, at::ones({1, 1, 2, 2}));
      }
      EXPECT_TRUE(latents.isfinite().all().item<bool>()) << name << ", " << steps << " steps";
    }
  }
}

TEST(Solver, NamesTheNearestOfUnknownNames) {
  const NoiseSchedule schedule({});
  try {
    make_solver("dpmpp_2n", schedule, 20);
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("did you mean \"dpmpp_2m\"?"));
  }
}

TEST(Solver, RefusesWhatTheScheduleOrTheSolverDoesNotHave) {
  const NoiseSchedule schedule({});
  EXPECT_THROW(make_solver("ddim", schedule, 0), UsageError);
  EXPECT_THROW(make_solver("ddim", schedule, 1000), UsageError);
  EXPECT_NO_THROW(make_solver("ddim", schedule, 999));
  EXPECT_THROW(make_solver("euler", schedule, 20, {.eta = 0.5}), UsageError);
  EXPECT_THROW(make_solver("ddim", schedule, 20, {.eta = 1.5}), UsageError);
  NoiseScheduleConfig config;
  config.steps_offset = 600;
  EXPECT_THROW(make_solver("ddim", NoiseSchedule(config), 20), UsageError);
  config = {};
  config.use_zero_terminal_snr();
  EXPECT_THROW(make_solver("pndm", NoiseSchedule(config), 20), UsageError);
}

}  // namespace
}  // namespace kessoku::model
