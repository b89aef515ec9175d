#include "model/networks/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "model/kernels/gated_gelu.h"
#include "model/networks/narrow_attention.h"

namespace kessoku::model {

at::Tensor multi_head_attention(const at::Tensor& query, const at::Tensor& key,
                                const at::Tensor& value, int64_t heads, bool causal) {
  if (!causal && suits_narrow_attention(query, heads))
    return narrow_attention(query, key, value, heads);
  const auto split = [&](const at::Tensor& x) {  // (B, T, C) → (B, heads, T, C / heads)
    return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
  };
  return at::scaled_dot_product_attention(split(query), split(key), split(value), {}, 0.0, causal)
      .transpose(1, 2)
      .reshape(query.sizes());
}

CrossAttention::CrossAttention(const ParameterScope& scope, int64_t channels,
                               int64_t context_channels, int64_t heads)
    : heads(heads),
      to_q(scope / "to_q", channels, channels, false),
      to_k(scope / "to_k", context_channels, channels, false),
      to_v(scope / "to_v", context_channels, channels, false),
      to_out(scope / "to_out" / 0, channels, channels) {}

at::Tensor CrossAttention::operator()(const at::Tensor& x, const at::Tensor& context) const {
  return to_out(multi_head_attention(to_q(x), to_k(context), to_v(context), heads));
}

FeedForward::FeedForward(const ParameterScope& scope, int64_t channels)
    : in(scope / "net.0.proj", channels, 8 * channels),
      out(scope / "net.2", 4 * channels, channels) {}

at::Tensor FeedForward::operator()(const at::Tensor& x) const { return out(gated_gelu(in(x))); }

TransformerBlock::TransformerBlock(const ParameterScope& scope, int64_t channels,
                                   int64_t context_channels, int64_t heads)
    : norm1(scope / "norm1", channels),
      self_attention(scope / "attn1", channels, channels, heads),
      norm2(scope / "norm2", channels),
      cross_attention(scope / "attn2", channels, context_channels, heads),
      norm3(scope / "norm3", channels),
      feed_forward(scope / "ff", channels) {}

at::Tensor TransformerBlock::operator()(at::Tensor x, const at::Tensor& context) const {
  const at::Tensor normed = norm1(x);
  x = x + self_attention(normed, normed);
  x = x + cross_attention(norm2(x), context);
  return x + feed_forward(norm3(x));
}

SpatialTransformer::Projection::Projection(const ParameterScope& scope, int64_t in, int64_t out,
                                           bool linear)
    : weight(linear ? scope.add("weight", {out, in}) : scope.add("weight", {out, in, 1, 1})),
      bias(scope.add("bias", {out})) {}

at::Tensor SpatialTransformer::Projection::operator()(const at::Tensor& tokens) const {
  return at::linear(tokens, weight.view({weight.size(0), weight.size(1)}), bias);
}

SpatialTransformer::SpatialTransformer(const ParameterScope& scope, int64_t channels,
                                       const TransformerShape& shape)
    : norm_(scope / "norm", shape.groups, channels, 1e-6),
      in_(scope / "proj_in", channels, shape.heads * (channels / shape.heads),
          shape.linear_projection) {
  const int64_t inner = in_.bias.size(0);
  for (int64_t i = 0; i < shape.layers; ++i) {
    blocks_.emplace_back(scope / "transformer_blocks" / i, inner, shape.context_channels,
                         shape.heads);
  }
  out_.emplace(scope / "proj_out", inner, channels, shape.linear_projection);
}

at::Tensor SpatialTransformer::operator()(const at::Tensor& x, const at::Tensor& context) const {
  const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  // Free of copies when x is channels-last.
  at::Tensor tokens = norm_(x).permute({0, 2, 3, 1}).reshape({batch, height * width, channels});
  tokens = in_(tokens);
  for (const TransformerBlock& block : blocks_) tokens = block(tokens, context);
  return x + (*out_)(tokens).view({batch, height, width, channels}).permute({0, 3, 1, 2});
}

}  // namespace kessoku::model
