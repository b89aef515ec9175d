#pragma once

#include <ATen/core/Tensor.h>

namespace kessoku::model {

/// Whether `narrow_attention` is the faster one: on CPUs, for the narrow heads (8 values a token)
/// of small networks, of which LibTorch's backward makes a twentieth of a core's rate; in bf16 also
/// for 16.
bool suits_narrow_attention(const at::Tensor& query, int64_t heads);

/// Scaled dot-product attention, computed in f32: query (B, Tq, C), key and value (B, Tk, C), of
/// which each head has C / heads channels, a multiple of 8. Returns (B, Tq, C) in their dtype.
at::Tensor narrow_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                            int64_t heads);

}  // namespace kessoku::model
