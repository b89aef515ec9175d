#pragma once

#include "model/networks/layers.h"

namespace kessoku::model {

/// Scaled dot-product attention of `heads` heads. query (B, Tq, C), key and value (B, Tk, C), C a
/// multiple of `heads`; `causal`: each place sees itself and those before it. Returns (B, Tq, C).
at::Tensor multi_head_attention(const at::Tensor& query, const at::Tensor& key,
                                const at::Tensor& value, int64_t heads, bool causal = false);

/// diffusers' Attention in a transformer block: projections without bias but the last.
struct CrossAttention {
  CrossAttention(const ParameterScope& scope, int64_t channels, int64_t context_channels,
                 int64_t heads);
  /// x (B, T, channels); context (B, Tk, context_channels), x itself for self-attention.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& context) const;

  int64_t heads;
  Linear to_q, to_k, to_v, to_out;
};

/// The GEGLU feed-forward (Shazeer, 2020): out(a · gelu(b)), (a, b) = in(x).
struct FeedForward {
  FeedForward(const ParameterScope& scope, int64_t channels);
  at::Tensor operator()(const at::Tensor& x) const;

  Linear in, out;
};

/// diffusers' BasicTransformerBlock: self-attention, cross-attention, feed-forward.
struct TransformerBlock {
  TransformerBlock(const ParameterScope& scope, int64_t channels, int64_t context_channels,
                   int64_t heads);
  at::Tensor operator()(at::Tensor x, const at::Tensor& context) const;

  LayerNorm norm1;
  CrossAttention self_attention;
  LayerNorm norm2;
  CrossAttention cross_attention;
  LayerNorm norm3;
  FeedForward feed_forward;
};

/// What the spatial transformers of a level have in common.
struct TransformerShape {
  int64_t context_channels;
  int64_t heads;   ///< of channels / heads each, rounded down
  int64_t layers;  ///< transformer blocks
  int64_t groups;
  bool linear_projection;  ///< proj_in, proj_out are stored as matrices, not as 1×1 convolutions
};

/// diffusers' Transformer2DModel: pixels as tokens, transformer blocks, and the input added.
struct SpatialTransformer {
  SpatialTransformer(const ParameterScope& scope, int64_t channels, const TransformerShape& shape);
  /// x (B, channels, H, W); context (B, T, context_channels).
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& context) const;

 private:
  /// A projection of tokens (B, T, in) by either kind of weight.
  struct Projection {
    Projection(const ParameterScope& scope, int64_t in, int64_t out, bool linear);
    at::Tensor operator()(const at::Tensor& tokens) const;
    at::Tensor weight, bias;
  };

  GroupNorm norm_;
  Projection in_;
  std::vector<TransformerBlock> blocks_;
  std::optional<Projection> out_;
};

}  // namespace kessoku::model
