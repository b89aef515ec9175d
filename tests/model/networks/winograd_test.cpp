#include "model/networks/winograd.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/max.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <gtest/gtest.h>

#include <limits>

#include "model/networks/flop_counter.h"

namespace kessoku::model {
namespace {

/// Images, channels and the side of a convolution.
struct Shape {
  int64_t images, in, out, height, width;
  double tolerance;
};

/// What is multiplied with the results before they are summed has the last letter.
struct Inputs {
  at::Tensor x, weight, bias, factors;

  explicit Inputs(const Shape& shape)
      : x(at::randn({shape.images, shape.in, shape.height, shape.width})
              .contiguous(at::MemoryFormat::ChannelsLast)),
        weight(0.1 * at::randn({shape.out, shape.in, 3, 3})),
        bias(at::randn({shape.out})),
        factors(at::randn({shape.images, shape.out, shape.height, shape.width})) {}
};

/// The output and the gradients of x, weight and bias.
using Results = std::vector<at::Tensor>;

template <typename Convolve>
Results results_of(const Inputs& inputs, at::ScalarType type, const Convolve& convolve) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& one : {inputs.x, inputs.weight, inputs.bias})
    leaves.push_back(one.to(type).clone().set_requires_grad(true));
  const at::Tensor out = convolve(leaves[0], leaves[1], leaves[2]);
  (out * inputs.factors.to(type)).sum().backward();
  return {out.detach(), leaves[0].grad(), leaves[1].grad(), leaves[2].grad()};
}

Results computed(const Inputs& inputs) { return results_of(inputs, at::kFloat, winograd_conv2d); }

Results by_libtorch(const Inputs& inputs, at::ScalarType type) {
  return results_of(inputs, type, [](const auto& x, const auto& weight, const auto& bias) {
    return at::conv2d(x, weight, bias, {1, 1}, {1, 1});
  });
}

double relative_error(const at::Tensor& got, const at::Tensor& wanted) {
  return ((got.to(at::kDouble) - wanted).abs().max() / wanted.abs().max()).item<double>();
}

constexpr Shape kTwo{1, 96, 64, 17, 19, 2e-6};        ///< F(2 × 2), with incomplete tiles
constexpr Shape kFour{3, 32, 48, 23, 26, 2e-5};       ///< F(4 × 4), likewise
constexpr Shape kManyTwo{2, 272, 256, 16, 16, 2e-6};  ///< F(2 × 2), many weights
constexpr Shape kManyFour{2, 272, 256, 33, 32, 2e-5};
constexpr Shape kLarge{1, 64, 64, 281, 280, 2e-5};  ///< gradients of weights in several parts

TEST(Winograd, HasLibTorchsResultsAndGradients) {
  at::manual_seed(1);
  for (const Shape& shape : {kTwo, kFour, kManyTwo, kManyFour, kLarge}) {
    const Inputs inputs(shape);
    ASSERT_TRUE(suits_winograd(inputs.x, inputs.weight));
    const Results got = computed(inputs), wanted = by_libtorch(inputs, at::kDouble);
    EXPECT_TRUE(got[0].is_contiguous(at::MemoryFormat::ChannelsLast));
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(got[i].sizes(), wanted[i].sizes());
      EXPECT_LT(relative_error(got[i], wanted[i]), shape.tolerance) << i;
    }
  }
}

/// Fewer numbers are summed.
TEST(Winograd, OfSmallTilesIsAsExactAsLibTorchs) {
  at::manual_seed(2);
  const Inputs inputs(kManyTwo);
  const Results got = computed(inputs), theirs = by_libtorch(inputs, at::kFloat),
                wanted = by_libtorch(inputs, at::kDouble);
  EXPECT_LE(relative_error(got[0], wanted[0]), relative_error(theirs[0], wanted[0]));
}

TEST(Winograd, HasTheSameBitsOnAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  for (const Shape& shape : {kTwo, kFour, kManyTwo, kManyFour}) {
    const Inputs inputs(shape);
    at::set_num_threads(1);
    const Results alone = computed(inputs);
    for (const int threads : {2, 3}) {
      at::set_num_threads(threads);
      const Results together = computed(inputs);
      for (size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(together[i].equal(alone[i])) << i;
    }
    at::set_num_threads(before);
  }
}

TEST(Winograd, ComputesOnlyTheGradientsThatAreWanted) {
  const Inputs inputs(kFour);
  const Results all = computed(inputs);
  for (int wanted = 0; wanted < 3; ++wanted) {
    std::vector<at::Tensor> leaves{inputs.x.clone(), inputs.weight.clone(), inputs.bias.clone()};
    const at::Tensor leaf = leaves[static_cast<size_t>(wanted)].set_requires_grad(true);
    (winograd_conv2d(leaves[0], leaves[1], leaves[2]) * inputs.factors).sum().backward();
    EXPECT_TRUE(leaf.grad().equal(all[static_cast<size_t>(wanted) + 1])) << wanted;
  }
  EXPECT_FALSE(winograd_conv2d(inputs.x, inputs.weight, inputs.bias).requires_grad());
}

TEST(Winograd, CountsTheOperationsOfADirectConvolution) {
  const Inputs inputs(kFour);
  const auto counted = [&](const auto& compute) {
    const FlopCounter counter;
    compute();
    return counter.count();
  };
  EXPECT_EQ(counted([&] { computed(inputs); }), counted([&] { by_libtorch(inputs, at::kFloat); }));
}

TEST(Winograd, PassesNansOn) {
  Inputs inputs(kTwo);
  inputs.x[0][5][8][9] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor nans = winograd_conv2d(inputs.x, inputs.weight, inputs.bias).isnan();
  const at::Tensor direct =
      at::conv2d(inputs.x, inputs.weight, inputs.bias, {1, 1}, {1, 1}).isnan();
  EXPECT_TRUE((nans | direct).equal(nans));  // those of the same tiles, too
}

TEST(Winograd, IsForImagesThatAreLargeEnough) {
  const auto suits = [](int64_t images, int64_t in, int64_t out, int64_t side,
                        at::ScalarType type = at::kFloat) {
    return suits_winograd(at::empty({images, in, side, side}, type),
                          at::empty({out, in, 3, 3}, type));
  };
  EXPECT_TRUE(suits(1, 320, 320, 64));
  EXPECT_TRUE(suits(2, 1280, 1280, 16));
  EXPECT_FALSE(suits(1, 1280, 1280, 16));
  EXPECT_FALSE(suits(2, 1280, 1280, 8));
  EXPECT_FALSE(suits(1, 4, 320, 64));
  EXPECT_FALSE(suits(1, 320, 4, 64));
  EXPECT_FALSE(suits(1, 320, 320, 64, at::kBFloat16));
  EXPECT_FALSE(suits_winograd(at::empty({1, 320, 64, 64}), at::empty({320, 320, 1, 1})));
}

}  // namespace
}  // namespace kessoku::model
