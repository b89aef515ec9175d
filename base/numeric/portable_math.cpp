#include "base/numeric/portable_math.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "base/numeric/clones.h"

namespace kessoku {

namespace {

constexpr size_t kMany = 256;  ///< at once

template <size_t size>
KESSOKU_INLINE float polynomial(float x, const std::array<float, size>& coefficients) {
  float sum = coefficients[0];
  for (size_t i = 1; i < size; ++i) sum = sum * x + coefficients[i];
  return sum;
}

/// Of a normal number above 0.
KESSOKU_INLINE float logarithm(float x) {
  constexpr int32_t kRootOfHalf = 0x3F3504F3;
  const auto bits = std::bit_cast<int32_t>(x);
  const int32_t exponent = (bits - kRootOfHalf) >> 23;
  const float f = std::bit_cast<float>(bits - exponent * (1 << 23)) - 1;  // √½ - 1 to √2 - 1
  const auto e = static_cast<float>(exponent);
  const float square = f * f;
  const float tail =
      polynomial(f, std::array{7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f,
                               -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                               2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f});
  const float small = f * square * tail + e * -2.12194440e-4f - 0.5f * square;
  return f + small + e * 0.693359375f;
}

/// Of -π/4 to π/4.
KESSOKU_INLINE float sine(float x) {
  const float z = x * x;
  return polynomial(z, std::array{-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f}) * z * x +
         x;
}
KESSOKU_INLINE float cosine(float x) {
  const float z = x * x;
  return polynomial(
             z, std::array{2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f}) *
             z * z -
         0.5f * z + 1;
}

/// `value` with another sign if bit 1 of `quarter` is set.
KESSOKU_INLINE float turned(float value, uint32_t quarter) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ ((quarter & 2) << 30));
}

/// `count` pairs.
template <size_t count>
KESSOKU_INLINE void pairs_of_normals(const uint32_t* words, float* normals) {
  for (size_t i = 0; i < count; ++i) {
    constexpr float kUnit = 0x1.0p-24f;
    const auto length = static_cast<float>(static_cast<int32_t>((words[2 * i] >> 8) + 1)) * kUnit;
    const float radius = std::sqrt(-2 * logarithm(length));
    // The angle in 2^24ths of a turn: what is left of it beside the nearest quarter.
    const uint32_t turn = words[2 * i + 1] >> 8;
    const uint32_t quarter = (turn + (1 << 21)) >> 22;
    const auto left = static_cast<float>(static_cast<int32_t>(turn - (quarter << 22)));
    const float angle = left * (2 * std::numbers::pi_v<float> * kUnit);
    const float x = sine(angle), y = cosine(angle);
    const bool odd = (quarter & 1) != 0;
    normals[2 * i] = radius * turned(odd ? x : y, quarter + 1);
    normals[2 * i + 1] = radius * turned(odd ? y : x, quarter);
  }
}

KESSOKU_CLONES void many_normals(const uint32_t* words, float* normals) {
  pairs_of_normals<kMany / 2>(words, normals);
}

template <size_t count>
KESSOKU_INLINE void powers_of_e(float* values) {
  for (size_t i = 0; i < count; ++i) {
    constexpr float kRounds = 0x1.8p23f;  // the sum has no bits below 1
    constexpr uint32_t kItsBits = 0x4B400000;
    const float x = values[i];
    const float rounded = x * std::numbers::log2e_v<float> + kRounds;
    const float n = rounded - kRounds;
    const float r = x - n * 0.693359375f - n * -2.12194440e-4f;
    const float sum =
        polynomial(r, std::array{1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) *
            (r * r) +
        r + 1;
    const uint32_t exponent = std::bit_cast<uint32_t>(rounded) - kItsBits;  // any, of NaN
    values[i] = sum * std::bit_cast<float>((exponent + 127) << 23);
  }
}

template <size_t count>
KESSOKU_INLINE void widen_some(const c10::Half* halves, float* floats) {
  for (size_t i = 0; i < count; ++i) floats[i] = c10::detail::fp16_ieee_to_fp32_value(halves[i].x);
}

KESSOKU_CLONES void widen_many(const c10::Half* halves, float* floats) {
  widen_some<kMany>(halves, floats);
}

KESSOKU_CLONES void many_powers(float* values) { powers_of_e<kMany>(values); }

}  // namespace

void make_normals(std::span<const uint32_t> words, std::span<float> normals) {
  if (words.size() != normals.size() || words.size() % 2 != 0)
    throw std::logic_error("normals come in pairs, of as many words");
  size_t done = 0;
  for (; normals.size() - done >= kMany; done += kMany)
    many_normals(words.data() + done, normals.data() + done);
  for (; done < normals.size(); done += 2)
    pairs_of_normals<1>(words.data() + done, normals.data() + done);
}

void exponentiate(std::span<float> values) {
  size_t done = 0;
  for (; values.size() - done >= kMany; done += kMany) many_powers(values.data() + done);
  for (; done < values.size(); ++done) powers_of_e<1>(values.data() + done);
}

void widen(std::span<const c10::Half> halves, std::span<float> floats) {
  if (halves.size() != floats.size()) throw std::logic_error("as many floats as halves");
  size_t done = 0;
  for (; floats.size() - done >= kMany; done += kMany)
    widen_many(halves.data() + done, floats.data() + done);
  for (; done < floats.size(); ++done) widen_some<1>(halves.data() + done, floats.data() + done);
}

}  // namespace kessoku
