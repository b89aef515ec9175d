#include "base/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace kessoku {
namespace {

TEST(RandomStream, RestsOnPhilox4x32WithTenRounds) {
  // Known answer of Random123 for key 0 and counter 0.
  at::Philox4_32 engine(0, 0, 0);
  for (uint32_t expected : {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u})
    EXPECT_EQ(engine(), expected);
}

TEST(RandomStream, IsAFunctionOfSeedPurposeAndIndex) {
  std::set<uint64_t> first;
  for (uint64_t seed : {0, 1}) {
    for (Purpose purpose : {Purpose::kNoise, Purpose::kTimestep}) {
      for (uint64_t index : {0, 1}) {
        const uint64_t value = RandomStream(seed, purpose, index).next64();
        EXPECT_EQ(RandomStream(seed, purpose, index).next64(), value);
        first.insert(value);
      }
    }
  }
  EXPECT_EQ(first.size(), 8u);
}

TEST(RandomStream, StaysTheSameBetweenVersions) {
  // A run begun by an older build must go on with the same draws.
  EXPECT_EQ(RandomStream(555, Purpose::kNoise, 7).next64(), 0xf70e1f0a36faa43dull);
}

TEST(RandomStream, BelowIsUniform) {
  RandomStream stream(1, Purpose::kTimestep, 0);
  std::vector<int> counts(10);
  for (int i = 0; i < 100'000; ++i) ++counts[stream.below(10)];
  for (int count : counts) EXPECT_NEAR(count, 10'000, 500);  // five standard deviations
  EXPECT_EQ(stream.below(1), 0u);
}

TEST(RandomStream, UniformStaysBelowOne) {
  RandomStream stream(1, Purpose::kTimestep, 0);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    const double value = stream.uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);
}

TEST(RandomStream, NormalsHaveMeanVarianceAndTailsOfTheNormal) {
  std::vector<float> values(200'001);  // odd: the last pair is cut
  RandomStream(3, Purpose::kNoise, 5).fill_normal(values);
  double sum = 0, squares = 0, beyond = 0;
  for (float value : values) {
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += static_cast<double>(value) * value;
    beyond += std::abs(value) > 2;
  }
  const double count = static_cast<double>(values.size());
  EXPECT_NEAR(sum / count, 0, 0.012);
  EXPECT_NEAR(squares / count, 1, 0.016);
  EXPECT_NEAR(beyond / count, 0.0455, 0.0025);
}

}  // namespace
}  // namespace kessoku
