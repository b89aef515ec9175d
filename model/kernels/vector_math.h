#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "base/numeric/clones.h"

/// Arithmetic on vectors of f32 for functions with KESSOKU_CLONES. GCC and Clang make whatever the
/// processor has of vectors of any length.
namespace kessoku::model {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

KESSOKU_INLINE Floats load(const float* from) {
  Floats values;
  std::memcpy(&values, from, sizeof values);
  return values;
}
KESSOKU_INLINE void store(float* to, const Floats& values) {
  std::memcpy(to, &values, sizeof values);
}

/// eˣ for x ≤ 88, within 2 ulp; below −86 as at −86 (4e−38). NaN stays NaN.
KESSOKU_INLINE Floats exponential(Floats x) {
  const Floats lowest = Floats{} - 86.0F;
  x = x < lowest ? lowest : x;
  // x = n ln 2 + r. Adding 1.5 · 2²³ rounds to a whole number, which is then in the low bits.
  constexpr float kRound = 12582912.0F;
  const Floats shifted = x * 1.44269504F + kRound;
  const Floats n = shifted - kRound;
  const Floats r = (x - n * 0.693145752F) - n * 1.42860677e-6F;
  Floats sum = r * 1.98756912e-4F + 1.39819994e-3F;
  sum = sum * r + 8.33345205e-3F;
  sum = sum * r + 4.16657962e-2F;
  sum = sum * r + 1.66666657e-1F;
  sum = sum * r + 0.5F;
  sum = sum * (r * r) + r + 1.0F;
  return std::bit_cast<Floats>(std::bit_cast<Ints>(sum) + (std::bit_cast<Ints>(shifted) << 23));
}

}  // namespace kessoku::model
