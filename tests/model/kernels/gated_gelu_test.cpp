#include "model/kernels/gated_gelu.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/max.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include <limits>

namespace kessoku::model {
namespace {

struct Result {
  at::Tensor out, gradient;
};

Result computed(const at::Tensor& x, const at::Tensor& weights) {
  const at::Tensor leaf = x.clone().set_requires_grad(true);
  const at::Tensor out = gated_gelu(leaf);
  (out * weights).sum().backward();
  return {out.detach(), leaf.grad()};
}

/// By LibTorch's operators in double precision.
Result expected(const at::Tensor& x, const at::Tensor& weights) {
  const at::Tensor leaf = x.to(at::kDouble).set_requires_grad(true);
  const std::vector<at::Tensor> halves = leaf.chunk(2, -1);
  const at::Tensor out = halves[0] * at::gelu(halves[1]);
  (out * weights.to(at::kDouble)).sum().backward();
  return {out.detach(), leaf.grad()};
}

double largest_error(const at::Tensor& got, const at::Tensor& wanted) {
  return (got.to(at::kDouble) - wanted).abs().max().item<double>();
}

double relative_error(const at::Tensor& got, const at::Tensor& wanted) {
  return largest_error(got, wanted) / wanted.abs().max().item<double>();
}

TEST(GatedGelu, HasLibTorchsResultsAndGradients) {
  at::manual_seed(1);
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 5e-7}, {at::kBFloat16, 5e-3}}) {
    for (const int64_t width : {1, 15, 16, 40, 256, 1283}) {
      const at::Tensor x = (3 * at::randn({2, 7, 2 * width})).to(dtype),
                       weights = at::randn({2, 7, width}).to(dtype);
      const Result got = computed(x, weights), wanted = expected(x, weights);
      EXPECT_EQ(got.out.scalar_type(), dtype);
      EXPECT_EQ(got.gradient.scalar_type(), dtype);
      EXPECT_EQ(got.out.sizes(), wanted.out.sizes());
      EXPECT_LT(relative_error(got.out, wanted.out), tolerance) << width;
      EXPECT_LT(relative_error(got.gradient, wanted.gradient), tolerance) << width;
    }
  }
}

TEST(GatedGelu, IsRightFarFromZero) {
  const at::Tensor gates = at::linspace(-60, 60, 24001).unsqueeze(-1);
  const at::Tensor x = at::cat({gates.new_ones(gates.sizes()), gates}, 1),
                   weights = gates.new_ones(gates.sizes());
  const Result got = computed(x, weights), wanted = expected(x, weights);
  const at::Tensor scale = gates.abs().clamp_min(1);
  EXPECT_LT(largest_error(got.out / scale, wanted.out / scale), 3e-7);
  EXPECT_LT(largest_error(got.gradient / scale, wanted.gradient / scale), 4e-7);
}

TEST(GatedGelu, PassesNansOnInBothTypes) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t damaged : {3, 20 + 18}) {
      at::Tensor x = at::randn({1, 40}).to(dtype);
      x[0][damaged] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_EQ(gated_gelu(x).isnan().sum().item<int64_t>(), 1) << damaged;
    }
  }
}

TEST(GatedGelu, TakesPartsOfTensorsAndIsTheSameOnAnyNumberOfThreads) {
  const at::Tensor wide = at::randn({64, 9, 600}), x = wide.narrow(2, 100, 400),
                   weights = at::randn({64, 9, 200});
  std::vector<Result> got;
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    got.push_back(computed(x, weights));
    got.push_back(computed(x.contiguous(), weights));
  }
  at::set_num_threads(before);
  for (const Result& one : got) {
    EXPECT_TRUE(one.out.equal(got[0].out));
    EXPECT_TRUE(one.gradient.equal(got[0].gradient));
  }
}

}  // namespace
}  // namespace kessoku::model
