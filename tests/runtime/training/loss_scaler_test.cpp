#include "runtime/training/loss_scaler.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <vector>

#include "tests/paths.h"

namespace kessoku::runtime {
namespace {

/// Overflows in a row, far apart, and shortly before the scale would grow.
bool overflows(int step) { return step < 3 || step == 2000 || step == 4002 || step == 6500; }

TEST(LossScaler, ScalesAsTorchsGradScaler) {
  constexpr int kSteps = 7000;
  LossScaler scaler(true);
  std::vector<double> ours;
  for (int step = 0; step < kSteps; ++step) {
    scaler.update(!overflows(step));
    if (ours.empty() || ours.back() != scaler.scale()) ours.push_back(scaler.scale());
  }
  const std::string script = fmt::format(R"(
import torch
p = torch.nn.Parameter(torch.zeros(1))
o, s, last = torch.optim.SGD([p], lr=0), torch.amp.GradScaler("cpu"), 0
s.scale(p.sum())
for step in range({}):
    p.grad = torch.full((1,), float("inf") if step < 3 or step in (2000, 4002, 6500) else 1.0)
    s.step(o)
    s.update()
    if s.get_scale() != last: print(last := s.get_scale())
)",
                                         kSteps);
  FILE* python = ::popen(fmt::format("{} -c '{}'", tests::python(), script).c_str(), "r");
  ASSERT_NE(python, nullptr);
  std::vector<double> theirs;
  double scale = 0;
  while (std::fscanf(python, "%lf", &scale) == 1) theirs.push_back(scale);
  EXPECT_EQ(::pclose(python), 0);
  EXPECT_EQ(ours, theirs);
}

TEST(LossScaler, OffItLeavesTheLossAlone) {
  LossScaler scaler(false);
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), 1);
  EXPECT_FALSE(scaler.may_lower()) << "what is not finite is not its fault";
}

}  // namespace
}  // namespace kessoku::runtime
