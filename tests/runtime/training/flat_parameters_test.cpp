#include "runtime/training/flat_parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "runtime/training/optimizer.h"

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

TEST(FlatParameters, GradientsWithoutABufferAreThoseOfOneToTheBit) {
  const model::Parameters values = three_parameters();
  const auto trained = [&](GradientStorage storage) {
    model::Parameters parameters;
    for (const auto& [name, tensor] : values) parameters.push_back({name, tensor.clone()});
    FlatParameters flat(parameters, 96, storage);
    Optimizer optimizer(flat, {}, {{0, 48}, {48, 96}}, /*keep_copy=*/true);
    flat.round_to(at::kBFloat16);
    EXPECT_EQ(flat.gradients().defined(), storage == GradientStorage::kBuffer);
    std::vector<at::Tensor> seen;
    for (int step = 0; step < 3; ++step) {
      flat.clear_gradients();
      // "b" is not used: its gradient is 0, as that of the padding.
      (parameters[0].tensor.cos().sum() + parameters[2].tensor.pow(2).sum()).backward();
      for (size_t i = 0; i < parameters.size(); ++i) flat.collect_gradient(i);
      for (const double factor : {1.0, 0.3}) {
        flat.scale_gradients(optimizer.owned(), factor);
        for (const Range& range : optimizer.owned())
          seen.push_back(flat.gradients_in(range).clone());
      }
      optimizer.begin_step();
      for (size_t i = 0; i < 2; ++i) optimizer.step(i, 1);
      flat.release_gradients();
      EXPECT_EQ(parameters[0].tensor.grad().defined(), false);
    }
    seen.push_back(optimizer.own_weights());
    return at::cat(seen);
  };
  const at::Tensor buffered = trained(GradientStorage::kBuffer);
  EXPECT_TRUE(trained(GradientStorage::kTensors).equal(buffered));
  EXPECT_GT(buffered.abs().sum().item<float>(), 0);
}

}  // namespace
}  // namespace kessoku::runtime
