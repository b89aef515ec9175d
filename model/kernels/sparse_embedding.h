#pragma once

#include <ATen/core/Tensor.h>

namespace kessoku::model {

/// at::embedding, whose gradient for `weight` (rows, C) is sparse: the sums of the rows that
/// `indices` name, which are the sums of the dense gradient to the bit. A dense one is fresh memory
/// of the weight's size. Accumulates into a dense gradient that `weight` has already.
at::Tensor sparse_embedding(const at::Tensor& weight, const at::Tensor& indices);

}  // namespace kessoku::model
