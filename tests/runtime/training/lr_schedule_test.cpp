#include "runtime/training/lr_schedule.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/paths.h"
#include "tests/temporary_folder.h"

namespace kessoku::runtime {
namespace {

struct Case {
  std::string name;
  uint64_t warmup, total, cycles;
  double power;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> cases = [] {
    std::vector<Case> made;
    for (const std::string& name : lr_schedule_names()) {
      for (const uint64_t warmup : {0, 1, 7}) {
        for (const auto& [cycles, power] : {std::pair{uint64_t{1}, 1.0}, {3, 2.5}})
          made.push_back({name, warmup, 60, cycles, power});
      }
    }
    return made;
  }();
  return cases;
}

/// Factors of steps 0 … total by diffusers.optimization.get_scheduler, a list for each case.
nlohmann::json diffusers_factors() {
  const tests::TemporaryFolder folder;
  std::string script = R"(
import json, sys, torch
from diffusers.optimization import get_scheduler
def factors(name, warmup, total, cycles, power):
    name = 'constant_with_warmup' if name == 'constant' else name
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-5)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total, num_cycles=cycles, power=power)
    return [f for s in range(total + 1) for f in [scheduler.get_last_lr()[0] / 1e-5] if (optimizer.step(), scheduler.step())]
json.dump([)";
  for (const Case& c : cases()) {
    script +=
        fmt::format("factors('{}', {}, {}, {}, {}),", c.name, c.warmup, c.total, c.cycles, c.power);
  }
  script += fmt::format("], open(r'{}', 'w'))", (folder.path() / "factors.json").string());
  write_file_atomically(folder.path() / "factors.py", script);
  const std::string command =
      fmt::format("'{}' '{}'", tests::python(), (folder.path() / "factors.py").string());
  if (std::system(command.c_str()) != 0) throw std::runtime_error("the oracle failed");
  return nlohmann::json::parse(read_file(folder.path() / "factors.json"));
}

TEST(LearningRateSchedule, EqualsDiffusersGetScheduler) {
  const nlohmann::json theirs = diffusers_factors();
  ASSERT_EQ(theirs.size(), cases().size());
  for (size_t i = 0; i < cases().size(); ++i) {
    const Case& c = cases()[i];
    RunConfig::Optimizer config;
    config.lr = 1e-5;
    config.schedule = c.name;
    config.warmup_steps = c.warmup;
    config.schedule_cycles = c.cycles;
    config.schedule_power = c.power;
    for (uint64_t step = 0; step <= c.total; ++step) {
      EXPECT_NEAR(lr_factor(config, step, c.total), theirs[i][step].get<double>(), 1e-9)
          << c.name << ", warm-up " << c.warmup << ", " << c.cycles << " cycles, power " << c.power
          << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace kessoku::runtime
