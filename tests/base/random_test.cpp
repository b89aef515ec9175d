#include "base/random.h"

#include <ATen/core/PhiloxRNGEngine.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>
#include <vector>

#include "base/checksum.h"

namespace kessoku {
namespace {

TEST(Philox, HasTheKnownAnswerOfRandom123) {
  Philox engine(0, 0);
  for (uint32_t expected : {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u})
    EXPECT_EQ(engine.next(), expected);
}

TEST(Philox, GivesTheNumbersOfATenHoweverManyAtOnce) {
  for (const uint64_t seed : {uint64_t{3}, uint64_t{0xfedcba9876543210}}) {
    Philox engine(seed, ~seed);
    at::Philox4_32 expected(seed, ~seed, 0);
    for (const size_t count : {1, 7, 300, 2, 1024, 513, 4, 0, 255, 256}) {
      std::vector<uint32_t> numbers(count);
      engine.fill(numbers);
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(numbers[i], expected()) << count << ": " << i;
      ASSERT_EQ(engine.next(), expected());
    }
  }
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

TEST(RandomStream, NormalsAreThoseOfBoxMuller) {
  std::vector<float> values(1003);
  RandomStream stream(4, Purpose::kNoise, 2), words(4, Purpose::kNoise, 2);
  EXPECT_EQ(stream.next(), words.next());  // from any place of the stream on
  stream.fill_normal(values);
  for (size_t i = 0; i < values.size(); i += 2) {
    const double length = ((words.next() >> 8) + 1) * 0x1p-24;
    const double angle = 2 * std::numbers::pi * (words.next() >> 8) * 0x1p-24;
    const double radius = std::sqrt(-2 * std::log(length));
    ASSERT_NEAR(values[i], radius * std::cos(angle), 4e-7 * radius + 1e-7) << i;
    if (i + 1 < values.size()) {
      ASSERT_NEAR(values[i + 1], radius * std::sin(angle), 4e-7 * radius + 1e-7) << i;
    }
  }
  EXPECT_EQ(stream.next(), words.next());
}

TEST(RandomStream, NormalsHaveTheSameBitsOnEveryProcessor) {
  std::vector<float> values(1 << 20);
  RandomStream(5, Purpose::kNoise, 6).fill_normal(values);
  EXPECT_EQ(to_hex(checksum(std::as_bytes(std::span(values)))), "b048377d4d630f98");
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
