#include "runtime/training/exact_sum.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace kessoku::runtime {
namespace {

TEST(ExactSum, HoldsWhatDoublesWouldRound) {
  ExactSum sum;
  sum.add(0x1p80);
  for (int i = 0; i < 1000; ++i) sum.add(0x1p-30);
  ExactSum less;
  less.add(0x1p80);
  EXPECT_EQ(sum.value(), 0x1p80);
  EXPECT_NE(sum.words(), less.words());
}

TEST(ExactSum, IsTheSameInEveryOrderAndGrouping) {
  std::mt19937_64 random(1);
  std::vector<double> values(2000);
  for (double& value : values)
    value = std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 150) - 130);
  ExactSum expected;
  for (const double value : values) expected.add(value);
  for (int trial = 0; trial < 20; ++trial) {
    std::shuffle(values.begin(), values.end(), random);
    std::vector<ExactSum> ranks(1 + random() % 7);
    for (size_t i = 0; i < values.size(); ++i) ranks[i % ranks.size()].add(values[i]);
    std::array<int64_t, ExactSum::kWords> words{};  // as an all-reduce adds them
    for (const ExactSum& rank : ranks) {
      for (size_t i = 0; i < words.size(); ++i) words[i] += rank.words()[i];
    }
    EXPECT_EQ(ExactSum(words).words(), expected.words());
    EXPECT_EQ(ExactSum(words).value(), expected.value());
  }
}

TEST(ExactSum, EqualsASumWithMoreDigits) {
  std::mt19937_64 random(2);
  ExactSum sum;
  long double expected = 0;
  for (int i = 0; i < 1000; ++i) {
    const double value = std::ldexp(static_cast<double>(random() >> 20), -50);
    sum.add(value);
    expected += value;
  }
  EXPECT_DOUBLE_EQ(sum.value(), static_cast<double>(expected));
}

TEST(ExactSum, IsInfiniteOnceANumberIsNotFiniteOrTooLarge) {
  for (const double bad : {std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN(), 0x1p96}) {
    ExactSum sum;
    sum.add(bad);
    sum.add(1);
    EXPECT_TRUE(std::isinf(sum.value()));
    EXPECT_TRUE(std::isinf(ExactSum(sum.words()).value()));
  }
  ExactSum sum;
  sum.add(0);
  sum.add(0x1p-300);
  EXPECT_EQ(sum.value(), 0);
}

ExactSum sum_of_squares(const at::Tensor& values) {
  SquareSum sum;
  sum.add(values);
  return sum.total(sum.of_blocks());
}

TEST(SquareSum, IsTheSameHoweverItIsCut) {
  constexpr int64_t kBlock = Partition::kAlignment;
  const at::Tensor values = at::randn({40 * kBlock}, at::kFloat);
  const ExactSum whole = sum_of_squares(values);
  const double expected = values.to(at::kDouble).square().sum().item<double>();
  EXPECT_NEAR(whole.value() / expected, 1, 1e-14);
  SquareSum parts;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{7, 40}, {0, 3}, {3, 7}})
    parts.add(values.narrow(0, begin * kBlock, (end - begin) * kBlock));
  EXPECT_EQ(parts.total(parts.of_blocks()).words(), whole.words());
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_EQ(sum_of_squares(values).words(), whole.words());
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace kessoku::runtime
