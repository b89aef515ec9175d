#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace kessoku::model {

/// A gated GELU (Shazeer, 2020) of one token: from `in` (2 · width), the values a and then their
/// gates b, out = a · gelu(b) (width). gelu(b) = b · Φ(b), of which Φ is within 2e−7. T: float or
/// c10::BFloat16, which is rounded once.
template <typename T>
void geglu(const T* in, int64_t width, T* out);

/// Its backward: from the gradient of `out` (width) that of `in` (2 · width).
template <typename T>
void geglu_backward(const T* in, const T* out_gradient, int64_t width, T* in_gradient);

}  // namespace kessoku::model
