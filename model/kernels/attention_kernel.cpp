#include "model/kernels/attention_kernel.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/kernels/vector_math.h"

namespace kessoku::model {

namespace {

constexpr int64_t kRows = 4;  ///< queries at a time, which share what is read of keys and values
constexpr int64_t kTile = 8;  ///< values of a token at a time

/// The first `count` lanes; `other` in those behind.
KESSOKU_INLINE Floats keep(const Floats& values, int64_t count, float other) {
  std::array<float, kLanes> lanes;
  std::memcpy(lanes.data(), &values, sizeof values);
  std::fill(lanes.begin() + count, lanes.end(), other);
  return load(lanes.data());
}

KESSOKU_INLINE float sum_of(const Floats& values) {
  std::array<float, kLanes> lanes;
  std::memcpy(lanes.data(), &values, sizeof values);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i)
      lanes[static_cast<size_t>(i)] += lanes[static_cast<size_t>(i + half)];
  }
  return lanes[0];
}

KESSOKU_INLINE float largest_of(const Floats& values) {
  float largest = values[0];
  for (int64_t i = 1; i < kLanes; ++i) largest = values[i] > largest ? values[i] : largest;
  return largest;
}

/// Tokens in whole vectors.
KESSOKU_INLINE int64_t padded(int64_t tokens) { return (tokens + kLanes - 1) / kLanes * kLanes; }

/// From a row of tokens to the next: an odd number of vectors, or rows of powers of two would all
/// want the same place in the cache.
KESSOKU_INLINE int64_t row_stride(int64_t tokens) {
  const int64_t vectors = padded(tokens) / kLanes;
  return (vectors + 1 - vectors % 2) * kLanes;
}

/// Tokens side by side, value after value (width, row_stride(tokens)); what is added is 0.
std::vector<float> transposed(const HeadInput& input, int64_t tokens, int64_t width) {
  const int64_t stride = row_stride(tokens);
  std::vector<float> values(static_cast<size_t>(stride * width));
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t i = 0; i < width; ++i)
      values[static_cast<size_t>(i * stride + token)] = input.data[token * input.stride + i];
  }
  return values;
}

/// The same, back.
void untranspose(const std::vector<float>& values, int64_t tokens, int64_t width,
                 HeadOutput output) {
  const int64_t stride = row_stride(tokens);
  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t i = 0; i < width; ++i)
      output.data[token * output.stride + i] = values[static_cast<size_t>(i * stride + token)];
  }
}

/// `factor` times kRows tokens from `first` on (kRows, width); beyond the last they are 0.
void gather(const HeadInput& input, int64_t first, int64_t tokens, int64_t width, float factor,
            float* rows) {
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      rows[row * width + i] =
          first + row < tokens ? factor * input.data[(first + row) * input.stride + i] : 0;
    }
  }
}

/// products[row] = Σᵢ rows[row][i] · columns[i][at …], for kRows rows.
KESSOKU_INLINE void multiply(const float* rows, const float* columns, int64_t width, int64_t stride,
                             int64_t at, Floats* products) {
  Floats sums[kRows] = {};
  for (int64_t i = 0; i < width; ++i) {
    const Floats column = load(columns + i * stride + at);
    for (int64_t row = 0; row < kRows; ++row) sums[row] += rows[row * width + i] * column;
  }
  for (int64_t row = 0; row < kRows; ++row) products[row] = sums[row];
}

/// out[i] = factor · Σⱼ weights[j] · columns[i][j], for the two rows of `weights` and of `out` (2,
/// width).
KESSOKU_INLINE void weigh(const float* weights, const float* columns, int64_t width, int64_t tokens,
                          const float* factors, float* out) {
  const int64_t stride = row_stride(tokens);
  for (int64_t tile = 0; tile < width; tile += kTile) {
    Floats first[kTile] = {}, second[kTile] = {};
    for (int64_t j = 0; j < tokens; j += kLanes) {
      const Floats one = load(weights + j), two = load(weights + stride + j);
      for (int64_t i = 0; i < kTile; ++i) {
        const Floats column = load(columns + (tile + i) * stride + j);
        first[i] += one * column;
        second[i] += two * column;
      }
    }
    for (int64_t i = 0; i < kTile; ++i) {
      out[tile + i] = factors[0] * sum_of(first[i]);
      out[width + tile + i] = factors[1] * sum_of(second[i]);
    }
  }
}

/// columns[i][j] += Σ over rows of rows[row][i] · weights[row][j].
KESSOKU_INLINE void spread(const float* rows, const float* weights, int64_t width, int64_t tokens,
                           float* columns) {
  const int64_t stride = row_stride(tokens);
  for (int64_t j = 0; j < tokens; j += kLanes) {
    Floats own[kRows];
    for (int64_t row = 0; row < kRows; ++row) own[row] = load(weights + row * stride + j);
    for (int64_t i = 0; i < width; ++i) {
      float* place = columns + i * stride + j;
      Floats sum = load(place);
      for (int64_t row = 0; row < kRows; ++row) sum += rows[row * width + i] * own[row];
      store(place, sum);
    }
  }
}

/// Of kRows queries: the results, of which the weights are scratch (kRows, row_stride(tokens)), and
/// the logs of the weights' sums.
KESSOKU_CLONES void attend_rows(const float* query, const float* keys, const float* values,
                                int64_t width, int64_t tokens, float* weights, float* out,
                                float* log_sums) {
  const int64_t stride = row_stride(tokens), whole = tokens / kLanes * kLanes;
  Floats largest[kRows], scores[kRows];
  for (Floats& one : largest) one = Floats{} - INFINITY;
  const auto note = [&](int64_t j) {
    for (int64_t row = 0; row < kRows; ++row) {
      store(weights + row * stride + j, scores[row]);
      largest[row] = scores[row] > largest[row] ? scores[row] : largest[row];
    }
  };
  for (int64_t j = 0; j < whole; j += kLanes) {
    multiply(query, keys, width, stride, j, scores);
    note(j);
  }
  if (whole < tokens) {
    multiply(query, keys, width, stride, whole, scores);
    for (Floats& score : scores) score = keep(score, tokens - whole, -INFINITY);
    note(whole);
  }
  float factors[kRows];
  for (int64_t row = 0; row < kRows; ++row) {
    const float most = largest_of(largest[row]);
    Floats sum{};
    float* own = weights + row * stride;
    for (int64_t j = 0; j < tokens; j += kLanes) {
      const Floats weight = exponential(load(own + j) - most);
      store(own + j, weight);
      sum += weight;
    }
    const float total = sum_of(sum);
    factors[row] = 1 / total;
    log_sums[row] = most + std::log(total);
  }
  for (int64_t row = 0; row < kRows; row += 2)
    weigh(weights + row * stride, values, width, tokens, factors + row, out + row * width);
}

/// Of kRows queries: their gradients; adds to those of keys and values. `inner`: of the results
/// with their gradients. Weights and slopes are scratch.
KESSOKU_CLONES void attend_rows_backward(const float* query, const float* keys, const float* values,
                                         const float* out_gradient, const float* log_sums,
                                         const float* inner, int64_t width, int64_t tokens,
                                         float scale, float* weights, float* slopes,
                                         float* query_gradient, float* key_gradients,
                                         float* value_gradients) {
  const int64_t stride = row_stride(tokens), whole = tokens / kLanes * kLanes;
  for (int64_t j = 0; j < tokens; j += kLanes) {
    Floats scores[kRows], gradients[kRows];
    multiply(query, keys, width, stride, j, scores);
    multiply(out_gradient, values, width, stride, j, gradients);
    for (int64_t row = 0; row < kRows; ++row) {
      const Floats weight = exponential(scores[row] - log_sums[row]);
      store(weights + row * stride + j, weight);
      store(slopes + row * stride + j, weight * (gradients[row] - inner[row]));
    }
  }
  if (whole < tokens) {
    for (int64_t row = 0; row < 2 * kRows; ++row) {
      float* last = (row < kRows ? weights : slopes) + row % kRows * stride + whole;
      store(last, keep(load(last), tokens - whole, 0));
    }
  }
  const float scales[2] = {scale, scale};
  for (int64_t row = 0; row < kRows; row += 2)
    weigh(slopes + row * stride, keys, width, tokens, scales, query_gradient + row * width);
  spread(query, slopes, width, tokens, key_gradients);
  spread(out_gradient, weights, width, tokens, value_gradients);
}

}  // namespace

void attend(const HeadShape& shape, HeadInput query, HeadInput key, HeadInput value, HeadOutput out,
            float* log_sums) {
  const int64_t width = shape.width, stride = row_stride(shape.keys);
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  const std::vector<float> keys = transposed(key, shape.keys, width),
                           values = transposed(value, shape.keys, width);
  std::vector<float> rows(static_cast<size_t>(2 * kRows * width)),
      weights(static_cast<size_t>(kRows * stride));
  float* results = rows.data() + kRows * width;
  for (int64_t first = 0; first < shape.queries; first += kRows) {
    gather(query, first, shape.queries, width, scale, rows.data());
    float sums[kRows];
    attend_rows(rows.data(), keys.data(), values.data(), width, shape.keys, weights.data(), results,
                sums);
    const int64_t count = std::min(kRows, shape.queries - first);
    for (int64_t row = 0; row < count; ++row) {
      log_sums[first + row] = sums[row];
      std::copy_n(results + row * width, width, out.data + (first + row) * out.stride);
    }
  }
}

void attend_backward(const HeadShape& shape, HeadInput query, HeadInput key, HeadInput value,
                     HeadInput out, const float* log_sums, HeadInput out_gradient,
                     HeadOutput query_gradient, HeadOutput key_gradient,
                     HeadOutput value_gradient) {
  const int64_t width = shape.width, stride = row_stride(shape.keys);
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  const std::vector<float> keys = transposed(key, shape.keys, width),
                           values = transposed(value, shape.keys, width);
  std::vector<float> key_gradients(keys.size()), value_gradients(values.size()),
      scratch(static_cast<size_t>(2 * kRows * stride)),
      rows(static_cast<size_t>(3 * kRows * width));
  float *queries = rows.data(), *gradients = queries + kRows * width,
        *results = gradients + kRows * width;
  for (int64_t first = 0; first < shape.queries; first += kRows) {
    gather(query, first, shape.queries, width, scale, queries);
    gather(out_gradient, first, shape.queries, width, 1, gradients);
    const int64_t count = std::min(kRows, shape.queries - first);
    float sums[kRows] = {}, inner[kRows] = {};
    for (int64_t row = 0; row < count; ++row) {
      sums[row] = log_sums[first + row];
      for (int64_t i = 0; i < width; ++i)
        inner[row] += gradients[row * width + i] * out.data[(first + row) * out.stride + i];
    }
    attend_rows_backward(queries, keys.data(), values.data(), gradients, sums, inner, width,
                         shape.keys, scale, scratch.data(), scratch.data() + kRows * stride,
                         results, key_gradients.data(), value_gradients.data());
    for (int64_t row = 0; row < count; ++row) {
      std::copy_n(results + row * width, width,
                  query_gradient.data + (first + row) * query_gradient.stride);
    }
  }
  untranspose(key_gradients, shape.keys, width, key_gradient);
  untranspose(value_gradients, shape.keys, width, value_gradient);
}

}  // namespace kessoku::model
