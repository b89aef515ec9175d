#pragma once

#include "model/networks/attention.h"
#include "model/networks/resnet.h"
#include "model/networks/vae.h"

namespace kessoku::model {

/// Self-attention of one head over all pixels, with biases (diffusers' Attention with a group
/// norm).
struct PixelAttention {
  PixelAttention(const ParameterScope& scope, int64_t channels, int64_t groups);
  /// (B, channels, H, W).
  at::Tensor operator()(const at::Tensor& x) const;

  GroupNorm norm;
  Linear to_q, to_k, to_v, to_out;
};

/// What DownEncoderBlock2D, UpDecoderBlock2D and their forms with attention have but the sampler.
struct VaeLayers {
  VaeLayers(const ParameterScope& scope, int64_t in, int64_t out, int64_t layers, int64_t groups,
            bool with_attention);
  /// `recompute`: gradient checkpointing, by residual block and attention.
  at::Tensor operator()(at::Tensor x, bool recompute) const;

  std::vector<ResnetBlock> resnets;
  std::vector<PixelAttention> attentions;
};

/// UNetMidBlock2D of the autoencoder.
struct VaeMidBlock {
  VaeMidBlock(const ParameterScope& scope, int64_t channels, int64_t groups, bool with_attention);
  at::Tensor operator()(const at::Tensor& x, bool recompute) const;

  ResnetBlock first;
  std::optional<PixelAttention> attention;
  ResnetBlock last;
};

struct VaeEncoder {
  VaeEncoder(const ParameterScope& scope, const VaeConfig& config);
  /// images (B, C, H, W). Returns (B, 2·latent_channels, h, w).
  at::Tensor operator()(const at::Tensor& images, bool recompute) const;

  Conv2d conv_in;
  std::vector<VaeLayers> levels;
  std::vector<Downsample> downsamples;
  std::optional<VaeMidBlock> mid;
  std::optional<GroupNorm> norm_out;
  std::optional<Conv2d> conv_out;
};

struct VaeDecoder {
  VaeDecoder(const ParameterScope& scope, const VaeConfig& config);
  /// latents (B, latent_channels, h, w). Returns (B, C, H, W).
  at::Tensor operator()(const at::Tensor& latents, bool recompute) const;

  Conv2d conv_in;
  VaeMidBlock mid;
  std::vector<VaeLayers> levels;
  std::vector<Upsample> upsamples;
  std::optional<GroupNorm> norm_out;
  std::optional<Conv2d> conv_out;
};

}  // namespace kessoku::model
