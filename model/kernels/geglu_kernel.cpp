#include "model/kernels/geglu_kernel.h"

#include <algorithm>
#include <array>

#include "model/kernels/vector_math.h"

namespace kessoku::model {

namespace {

using Halves = uint16_t __attribute__((vector_size(kLanes * sizeof(uint16_t))));
using Words = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));

KESSOKU_INLINE Floats load(const c10::BFloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  return std::bit_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}
/// Rounds to nearest, ties to even.
KESSOKU_INLINE void store(c10::BFloat16* to, const Floats& values) {
  const Words bits = std::bit_cast<Words>(values);
  const Words rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const Words quiet = (bits >> 16) | 0x40U;  // of NaN, which must not be rounded to infinity
  const Halves halves = __builtin_convertvector(values == values ? rounded : quiet, Halves);
  std::memcpy(to, &halves, sizeof halves);
}
using kessoku::model::load;
using kessoku::model::store;

/// A normal variable's distribution function and density.
struct Normal {
  Floats below, density;
};

KESSOKU_INLINE Normal normal(const Floats& x) {
  const Floats bell = exponential(x * x * -0.5F);
  const Floats absolute = std::bit_cast<Floats>(std::bit_cast<Ints>(x) & 0x7FFFFFFF);
  // erfc(|x| / √2) / 2 as in Abramowitz and Stegun, 7.1.26.
  const Floats t = 1.0F / (absolute * 0.231641888F + 1.0F);
  Floats tail = t * 0.5307027145F - 0.7265760135F;
  tail = tail * t + 0.7107068705F;
  tail = tail * t - 0.1422483680F;
  tail = tail * t + 0.1274147960F;
  tail = tail * t * bell;
  return {x < 0.0F ? tail : 1.0F - tail, bell * 0.398942280F};
}

KESSOKU_INLINE Floats gated(const Floats& value, const Floats& gate) {
  return value * gate * normal(gate).below;
}

struct Slopes {
  Floats value, gate;
};

KESSOKU_INLINE Slopes slopes(const Floats& value, const Floats& gate, const Floats& gradient) {
  const Normal at = normal(gate);
  return {gradient * gate * at.below, gradient * value * (at.below + gate * at.density)};
}

/// What is left of a token behind its last whole vector; 0 beyond it.
template <typename T>
KESSOKU_INLINE Floats load_some(const T* from, int64_t count) {
  std::array<T, kLanes> lanes{};
  std::copy_n(from, count, lanes.begin());
  return load(lanes.data());
}
template <typename T>
KESSOKU_INLINE void store_some(T* to, int64_t count, const Floats& values) {
  std::array<T, kLanes> lanes;
  store(lanes.data(), values);
  std::copy_n(lanes.begin(), count, to);
}

template <typename T>
KESSOKU_INLINE void forward(const T* in, int64_t width, T* out) {
  const int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (int64_t i = 0; i < whole; i += kLanes)
    store(out + i, gated(load(in + i), load(in + width + i)));
  if (rest > 0) {
    store_some(out + whole, rest,
               gated(load_some(in + whole, rest), load_some(in + width + whole, rest)));
  }
}

template <typename T>
KESSOKU_INLINE void backward(const T* in, const T* out_gradient, int64_t width, T* in_gradient) {
  const int64_t whole = width / kLanes * kLanes, rest = width - whole;
  for (int64_t i = 0; i < whole; i += kLanes) {
    const Slopes of = slopes(load(in + i), load(in + width + i), load(out_gradient + i));
    store(in_gradient + i, of.value);
    store(in_gradient + width + i, of.gate);
  }
  if (rest > 0) {
    const Slopes of = slopes(load_some(in + whole, rest), load_some(in + width + whole, rest),
                             load_some(out_gradient + whole, rest));
    store_some(in_gradient + whole, rest, of.value);
    store_some(in_gradient + width + whole, rest, of.gate);
  }
}

KESSOKU_CLONES void forward_clone(const float* in, int64_t width, float* out) {
  forward(in, width, out);
}
KESSOKU_CLONES void forward_clone(const c10::BFloat16* in, int64_t width, c10::BFloat16* out) {
  forward(in, width, out);
}
KESSOKU_CLONES void backward_clone(const float* in, const float* out_gradient, int64_t width,
                                   float* in_gradient) {
  backward(in, out_gradient, width, in_gradient);
}
KESSOKU_CLONES void backward_clone(const c10::BFloat16* in, const c10::BFloat16* out_gradient,
                                   int64_t width, c10::BFloat16* in_gradient) {
  backward(in, out_gradient, width, in_gradient);
}

}  // namespace

template <typename T>
void geglu(const T* in, int64_t width, T* out) {
  forward_clone(in, width, out);
}
template void geglu(const float*, int64_t, float*);
template void geglu(const c10::BFloat16*, int64_t, c10::BFloat16*);

template <typename T>
void geglu_backward(const T* in, const T* out_gradient, int64_t width, T* in_gradient) {
  backward_clone(in, out_gradient, width, in_gradient);
}
template void geglu_backward(const float*, const float*, int64_t, float*);
template void geglu_backward(const c10::BFloat16*, const c10::BFloat16*, int64_t, c10::BFloat16*);

}  // namespace kessoku::model
