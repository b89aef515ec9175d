#pragma once

#include "model/networks/attention.h"
#include "model/networks/resnet.h"
#include "model/networks/unet.h"

namespace kessoku::model {

/// What all layers of one forward pass share.
struct Conditioning {
  at::Tensor time;  ///< (B, time channels), through SiLU
  at::Tensor text;  ///< (B, T, cross_attention_dim)
  bool recompute;   ///< gradient checkpointing, by residual block and transformer
};

/// What the blocks of a UNet have in common.
struct BlockShape {
  int64_t time_channels;
  int64_t layers;  ///< residual blocks
  int64_t groups;
  double eps;
  bool attention;  ///< a transformer after each residual block
  TransformerShape transformer;
};

/// DownBlock2D or CrossAttnDownBlock2D.
struct UNetDownBlock {
  UNetDownBlock(const ParameterScope& scope, int64_t in, int64_t out, bool downsample,
                const BlockShape& shape);
  /// Appends each layer's output to `skips` and returns the last.
  at::Tensor operator()(at::Tensor x, const Conditioning& conditioning, Tensors& skips) const;

  std::vector<ResnetBlock> resnets;
  std::vector<SpatialTransformer> attentions;
  std::optional<Downsample> downsample;
};

/// UNetMidBlock2DCrossAttn; without attention UNetMidBlock2D, which is one residual block.
struct UNetMidBlock {
  UNetMidBlock(const ParameterScope& scope, int64_t channels, const BlockShape& shape);
  at::Tensor operator()(const at::Tensor& x, const Conditioning& conditioning) const;

  ResnetBlock first;
  std::optional<SpatialTransformer> attention;
  std::optional<ResnetBlock> last;
};

/// UpBlock2D or CrossAttnUpBlock2D.
struct UNetUpBlock {
  /// `in`: channels of x; `skip`: of the down path's layer that the last residual block takes in.
  UNetUpBlock(const ParameterScope& scope, int64_t in, int64_t out, int64_t skip, bool upsample,
              const BlockShape& shape);
  /// Takes its layers' inputs off the end of `skips`, and upsamples to the size of what is then
  /// last there: so odd sizes find back to themselves.
  at::Tensor operator()(at::Tensor x, const Conditioning& conditioning, Tensors& skips) const;

  std::vector<ResnetBlock> resnets;
  std::vector<SpatialTransformer> attentions;
  std::optional<Upsample> upsample;
};

}  // namespace kessoku::model
