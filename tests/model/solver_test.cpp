#include "model/solver.h"

#include <ATen/TensorOperators.h>
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

void expect_same_steps(Solver& solver, const json& theirs) {
  at::Tensor latents = tensor_of(theirs["unit"]) * solver.initial_scale();
  ASSERT_EQ(solver.steps(), static_cast<int64_t>(theirs["steps"].size()));
  for (int64_t i = 0; i < solver.steps(); ++i) {
    const json& step = theirs["steps"][static_cast<size_t>(i)];
    EXPECT_NEAR(solver.timestep(i), tensor_of(step["timestep"]).item<double>(), 1e-4)
        << "step " << i;
    EXPECT_LE(largest_difference(solver.scale_input(latents, i), tensor_of(step["scaled"])), 1e-4)
        << "step " << i;
    latents = solver.step(tensor_of(step["output"]), i, latents);
    EXPECT_LE(largest_difference(latents, tensor_of(step["latents"])), 1e-4) << "step " << i;
  }
}

TEST(Solver, EqualsDiffusersSchedulerStepByStep) {
  TemporaryFolder folder;
  NoiseScheduleConfig config;
  const auto config_path = folder.path() / "scheduler_config.json";
  write_file_atomically(config_path, config.to_json().dump());
  run_oracle("schedule_oracle.py", {"solver", config_path, folder.path() / "oracle.json"});

  const json runs = read_json(folder.path() / "oracle.json");
  EXPECT_EQ(runs.size(), solver_names().size() * 7 * 2);
  for (const auto& [name, theirs] : runs.items()) {
    SCOPED_TRACE(name);
    std::string solver;
    int64_t steps = 0;
    std::istringstream(name) >> solver >> steps >> config.prediction_type;
    expect_same_steps(*make_solver(solver, NoiseSchedule(config), steps), theirs);
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

TEST(Solver, RefusesStepsThatTheScheduleDoesNotHave) {
  const NoiseSchedule schedule({});
  EXPECT_THROW(make_solver("ddim", schedule, 0), UsageError);
  EXPECT_THROW(make_solver("ddim", schedule, 1000), UsageError);
  EXPECT_NO_THROW(make_solver("ddim", schedule, 999));
}

}  // namespace
}  // namespace kessoku::model
