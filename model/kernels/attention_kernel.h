#pragma once

#include <cstdint>

namespace kessoku::model {

/// One head's queries, keys and values in memory: f32, a token's `width` values side by side.
struct HeadShape {
  int64_t queries, keys;
  int64_t width;  ///< values a token; a multiple of 8
};

/// Tokens of a head: those of a tensor (tokens, channels) from the head's first channel on.
struct HeadInput {
  const float* data;
  int64_t stride;  ///< from a token to the next
};
struct HeadOutput {
  float* data;
  int64_t stride;
};

/// Scaled dot-product attention of one head: out = softmax(q kᵀ / √width) v. Scores are never in
/// memory as a whole (as in Dao et al., 2022); each query's log of the sum of their exponentials
/// goes to `log_sums` (queries), for backward. Exponentials are within 2 ulp. For any processor, in
/// vectors of 16: sums are in an order that depends on the shape alone.
void attend(const HeadShape& shape, HeadInput query, HeadInput key, HeadInput value, HeadOutput out,
            float* log_sums);

/// Its backward: from the gradient of `out` those of query, key and value.
void attend_backward(const HeadShape& shape, HeadInput query, HeadInput key, HeadInput value,
                     HeadInput out, const float* log_sums, HeadInput out_gradient,
                     HeadOutput query_gradient, HeadOutput key_gradient, HeadOutput value_gradient);

}  // namespace kessoku::model
