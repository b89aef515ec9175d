#pragma once

#include <ATen/core/Tensor.h>

namespace kessoku::model {

/// The gated GELU of transformers' feed-forward layers: x (…, 2 · C), values and then their gates.
/// Returns values · gelu(gates) (…, C), in x's dtype. On CPUs it is one pass over memory, in f32
/// and bf16, and backward needs nothing but x; elsewhere LibTorch's operators.
at::Tensor gated_gelu(const at::Tensor& x);

}  // namespace kessoku::model
