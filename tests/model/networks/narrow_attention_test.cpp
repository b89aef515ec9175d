#include "model/networks/narrow_attention.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/all.h>
#include <ATen/ops/any.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/max.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/networks/attention.h"

namespace kessoku::model {
namespace {

struct Case {
  int64_t batch, queries, keys, heads, width;
};

/// Whole vectors of keys and not, queries in fours and not, widths of one and several tiles.
const std::vector<Case> kCases{{2, 64, 64, 2, 8},   {1, 77, 77, 3, 8},  {2, 13, 5, 2, 8},
                               {1, 1, 1, 1, 16},    {2, 30, 77, 2, 16}, {1, 117, 117, 1, 24},
                               {1, 256, 100, 2, 40}};

at::Tensor draw(int64_t batch, int64_t tokens, const Case& one) {
  return at::randn({batch, tokens, one.heads * one.width}, at::kDouble);
}

/// LibTorch's in double precision, and the gradients of `weights` · out.
std::vector<at::Tensor> expected(const std::vector<at::Tensor>& inputs, const at::Tensor& weights,
                                 int64_t heads) {
  std::vector<at::Tensor> leaves, split;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.to(at::kDouble).set_requires_grad(true));
    split.push_back(leaves.back().view({input.size(0), input.size(1), heads, -1}).transpose(1, 2));
  }
  const at::Tensor out = at::scaled_dot_product_attention(split[0], split[1], split[2])
                             .transpose(1, 2)
                             .reshape(inputs[0].sizes());
  (out * weights.to(at::kDouble)).sum().backward();
  return {out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

std::vector<at::Tensor> computed(const std::vector<at::Tensor>& inputs, const at::Tensor& weights,
                                 int64_t heads) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& input : inputs) leaves.push_back(input.clone().set_requires_grad(true));
  const at::Tensor out = narrow_attention(leaves[0], leaves[1], leaves[2], heads);
  (out * weights).sum().backward();
  return {out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

double relative_error(const at::Tensor& got, const at::Tensor& wanted) {
  return ((got.to(at::kDouble) - wanted).abs().max() / wanted.abs().max()).item<double>();
}

TEST(NarrowAttention, HasLibTorchsResultsAndGradients) {
  at::manual_seed(1);
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 2e-6}, {at::kBFloat16, 2e-2}}) {
    for (const Case& one : kCases) {
      std::vector<at::Tensor> inputs;
      for (const int64_t tokens : {one.queries, one.keys, one.keys})
        inputs.push_back((2 * draw(one.batch, tokens, one)).to(dtype));
      const at::Tensor weights = draw(one.batch, one.queries, one).to(dtype);
      const std::vector<at::Tensor> got = computed(inputs, weights, one.heads),
                                    wanted = expected(inputs, weights, one.heads);
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_EQ(got[i].scalar_type(), dtype);
        // With one key the gradients of queries and keys are 0.
        if (wanted[i].abs().max().item<double>() < 1e-12) {
          EXPECT_LT(got[i].abs().max().item<double>(), 1e-6) << i;
        } else {
          EXPECT_LT(relative_error(got[i], wanted[i]), tolerance)
              << i << " of " << one.queries << " x " << one.keys << " x " << one.width;
        }
      }
    }
  }
}

TEST(NarrowAttention, TakesScoresOfAnySize) {
  at::manual_seed(2);
  const Case one{1, 16, 21, 1, 8};
  for (const double size : {1e-3, 30.0, 300.0}) {
    std::vector<at::Tensor> inputs;
    for (const int64_t tokens : {one.queries, one.keys, one.keys})
      inputs.push_back((size * draw(1, tokens, one)).to(at::kFloat));
    const at::Tensor weights = draw(1, one.queries, one).to(at::kFloat);
    const std::vector<at::Tensor> got = computed(inputs, weights, 1),
                                  wanted = expected(inputs, weights, 1);
    // Scores in the tens of thousands are known to some thousandths only.
    EXPECT_LT(relative_error(got[0], wanted[0]), size > 100 ? 0.05 : 1e-4) << size;
    for (const at::Tensor& tensor : got) EXPECT_TRUE(tensor.isfinite().all().item<bool>()) << size;
  }
}

TEST(NarrowAttention, PassesNansOn) {
  for (const size_t damaged : {0, 1, 2}) {
    std::vector<at::Tensor> inputs{at::randn({1, 20, 8}), at::randn({1, 20, 8}),
                                   at::randn({1, 20, 8})};
    inputs[damaged][0][7][3] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<at::Tensor> got = computed(inputs, at::randn({1, 20, 8}), 1);
    for (const size_t i : {0, 1, 2, 3}) {
      const bool reached = damaged < 2 || i < 3;  // a value's own gradient does not depend on it
      EXPECT_EQ(got[i].isnan().any().item<bool>(), reached) << damaged << " " << i;
    }
  }
}

TEST(NarrowAttention, IsTheSameOnAnyNumberOfThreads) {
  const std::vector<at::Tensor> inputs{at::randn({3, 50, 24}), at::randn({3, 77, 24}),
                                       at::randn({3, 77, 24})};
  const at::Tensor weights = at::randn({3, 50, 24});
  std::vector<std::vector<at::Tensor>> got;
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    got.push_back(computed(inputs, weights, 3));
  }
  at::set_num_threads(before);
  for (size_t i = 0; i < got[0].size(); ++i) EXPECT_TRUE(got[0][i].equal(got[1][i])) << i;
}

TEST(NarrowAttention, IsWhatNarrowHeadsUse) {
  const at::Tensor query = at::randn({2, 50, 16}), key = at::randn({2, 77, 16}),
                   value = at::randn({2, 77, 16});
  EXPECT_TRUE(suits_narrow_attention(query, 2));
  EXPECT_FALSE(suits_narrow_attention(query, 1));
  EXPECT_TRUE(suits_narrow_attention(query.to(at::kBFloat16), 1));
  EXPECT_TRUE(
      multi_head_attention(query, key, value, 2).equal(narrow_attention(query, key, value, 2)));
}

}  // namespace
}  // namespace kessoku::model
