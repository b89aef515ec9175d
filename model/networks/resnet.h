#pragma once

#include "model/networks/checkpointing.h"
#include "model/networks/layers.h"

namespace kessoku::model {

/// diffusers' ResnetBlock2D: x + conv(silu(norm(conv(silu(norm x)) + time))).
struct ResnetBlock {
  /// `time_channels` 0: without a time embedding, as in the autoencoder.
  ResnetBlock(const ParameterScope& scope, int64_t in, int64_t out, int64_t time_channels,
              int64_t groups, double eps);
  /// x (B, in, H, W); time (B, time_channels) already through SiLU, undefined without a time
  /// embedding.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& time = {}) const;

  GroupNorm norm1;
  Conv2d conv1;
  std::optional<Linear> time_projection;
  GroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> shortcut;
};

/// Halves the sides by a convolution of stride 2.
struct Downsample {
  enum class Padding { kSymmetric, kBottomRight };  ///< as the UNet and as the autoencoder do
  Downsample(const ParameterScope& scope, int64_t channels, Padding padding);
  at::Tensor operator()(const at::Tensor& x) const;

  Padding padding;
  Conv2d conv;
};

/// Nearest neighbors, then a convolution.
struct Upsample {
  Upsample(const ParameterScope& scope, int64_t channels);
  at::Tensor operator()(const at::Tensor& x, int64_t height, int64_t width) const;

  Conv2d conv;
};

}  // namespace kessoku::model
