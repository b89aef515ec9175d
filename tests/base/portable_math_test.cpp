#include "base/numeric/portable_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/checksum.h"

namespace kessoku {
namespace {

std::string bits_of(const std::vector<float>& values) {
  return to_hex(checksum(std::as_bytes(std::span(values))));
}

TEST(PortableMath, ExponentiatesCloseToTheTruth) {
  std::vector<float> values(100'003);  // not all at once
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = -80 + 160 * static_cast<float>(i) / static_cast<float>(values.size() - 1);
  const std::vector<float> before = values;
  exponentiate(values);
  for (size_t i = 0; i < values.size(); ++i) {
    const double expected = std::exp(static_cast<double>(before[i]));
    ASSERT_NEAR(values[i], expected, 2e-7 * expected) << before[i];
  }
  EXPECT_EQ(bits_of(values), "bc60260580a7c8a4") << "not the bits of other processors";
}

TEST(PortableMath, KeepsNaN) {
  std::vector<float> values(300, std::numeric_limits<float>::quiet_NaN());
  exponentiate(values);
  for (const float value : values) ASSERT_TRUE(std::isnan(value));
}

TEST(PortableMath, WidensAllHalves) {
  std::vector<c10::Half> halves(65'536);
  std::vector<float> floats(halves.size());
  for (size_t i = 0; i < halves.size(); ++i) halves[i].x = static_cast<uint16_t>(i);
  widen(halves, floats);
  for (size_t i = 0; i < halves.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10) & 31;
    const auto fraction = static_cast<double>(i & 1023);
    const double size = exponent == 0    ? std::ldexp(fraction, -24)
                        : exponent == 31 ? std::numeric_limits<double>::infinity()
                                         : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31 && fraction > 0) {
      ASSERT_TRUE(std::isnan(floats[i])) << i;
    } else {
      ASSERT_EQ(floats[i], i >> 15 != 0 ? -size : size) << i;
    }
  }
}

TEST(PortableMath, MakesFiniteNormalsOfExtremeWords) {
  for (const uint32_t first : {0u, 0xFFu, 0x100u, 0x7FFFFFFFu, 0xFFFFFEFFu, 0xFFFFFFFFu}) {
    for (uint32_t turn = 0; turn < 64; ++turn) {
      const std::array<uint32_t, 2> words{first, turn << 26};
      std::array<float, 2> normals;
      make_normals(words, normals);
      const double radius = std::sqrt(-2 * std::log(((first >> 8) + 1) * 0x1p-24));
      EXPECT_NEAR(std::hypot(normals[0], normals[1]), radius, 1e-6 * radius + 1e-7);
    }
  }
}

}  // namespace
}  // namespace kessoku
