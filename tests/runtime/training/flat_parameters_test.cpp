#include "runtime/training/flat_parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace kessoku::runtime {
namespace {

model::Parameters three_parameters() {
  return {{"a", at::randn({3, 5})}, {"b", at::randn({16})}, {"c", at::randn({2, 2, 3, 3})}};
}

TEST(FlatParameters, KeepsTheValuesAndMakesTheTensorsViews) {
  model::Parameters parameters = three_parameters();
  const at::Tensor before = parameters[2].tensor.clone();
  const FlatParameters flat(parameters, 96);
  EXPECT_TRUE(parameters[2].tensor.equal(before));
  at::Tensor(flat.values()).fill_(7);
  EXPECT_EQ(parameters[2].tensor.sum().item<float>(), 7 * 36);
}

TEST(FlatParameters, GradientsArriveInTheFlatBufferAndStayViews) {
  model::Parameters parameters = three_parameters();
  const FlatParameters flat(parameters, 96);
  for (int round = 1; round <= 2; ++round) {
    (parameters[0].tensor.sum() * 2 + parameters[2].tensor.sum() * 3).backward();
    EXPECT_EQ(flat.gradients().sum().item<float>(), round * (2 * 15 + 3 * 36));
  }
  EXPECT_TRUE(parameters[0].tensor.grad().is_alias_of(flat.gradients()));
}

TEST(FlatParameters, AlignsEachParameterTo64Bytes) {
  const FlatParameters flat(three_parameters(), 96);
  EXPECT_EQ(flat.ranges()[1].offset, 16);
  EXPECT_EQ(flat.ranges()[2].offset, 32);
  EXPECT_EQ(flat.used(), 32 + 48);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(flat.values().data_ptr()) % 64, 0u);
}

TEST(FlatParameters, SumsBf16GradientsInFp32) {
  model::Parameters parameters{{"a", at::ones({4})}};
  FlatParameters flat(parameters, 16);
  flat.round_to(at::kBFloat16);
  // 256 + 1 has no bf16: a bf16 sum would stay at 256.
  for (double gradient : {256.0, 1.0}) {
    (parameters[0].tensor * gradient).sum().backward();
    flat.collect_gradient(0);
    EXPECT_FALSE(parameters[0].tensor.grad().defined());
  }
  EXPECT_EQ(flat.gradients().sum().item<float>(), 4 * 257);
}

}  // namespace
}  // namespace kessoku::runtime
