#include "model/vae.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/silu.h>

#include "model/attention.h"
#include "model/resnet.h"

namespace kessoku::model {

namespace {

constexpr double kEps = 1e-6;

/// Self-attention of one head over all pixels, with biases (diffusers' Attention with a group
/// norm).
struct PixelAttention {
  PixelAttention(const ParameterScope& scope, int64_t channels, int64_t groups)
      : norm(scope / "group_norm", groups, channels, kEps),
        to_q(scope / "to_q", channels, channels),
        to_k(scope / "to_k", channels, channels),
        to_v(scope / "to_v", channels, channels),
        to_out(scope / "to_out" / 0, channels, channels) {}

  at::Tensor operator()(const at::Tensor& x) const {
    const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
    const at::Tensor tokens =
        norm(x).permute({0, 2, 3, 1}).reshape({batch, height * width, channels});
    const at::Tensor seen =
        to_out(multi_head_attention(to_q(tokens), to_k(tokens), to_v(tokens), 1));
    return x + seen.view({batch, height, width, channels}).permute({0, 3, 1, 2});
  }

  GroupNorm norm;
  Linear to_q, to_k, to_v, to_out;
};

/// UNetMidBlock2D of the autoencoder.
struct MidBlock {
  MidBlock(const ParameterScope& scope, int64_t channels, int64_t groups, bool with_attention)
      : first(scope / "resnets" / 0, channels, channels, 0, groups, kEps),
        attention(with_attention ? std::optional<PixelAttention>(
                                       std::in_place, scope / "attentions" / 0, channels, groups)
                                 : std::nullopt),
        last(scope / "resnets" / 1, channels, channels, 0, groups, kEps) {}

  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor hidden = first(x);
    return last(attention ? (*attention)(hidden) : hidden);
  }

  ResnetBlock first;
  std::optional<PixelAttention> attention;
  ResnetBlock last;
};

struct Encoder {
  Encoder(const ParameterScope& scope, const VaeConfig& config)
      : conv_in(scope / "conv_in", config.in_channels, config.block_out_channels[0], 3, 1, 1) {
    const std::vector<int64_t>& channels = config.block_out_channels;
    const int64_t groups = config.norm_num_groups;
    for (size_t i = 0; i < channels.size(); ++i) {
      const ParameterScope block = scope / "down_blocks" / i;
      std::vector<ResnetBlock>& level = levels.emplace_back();
      for (int64_t j = 0; j < config.layers_per_block; ++j) {
        const int64_t in = j == 0 && i > 0 ? channels[i - 1] : channels[i];
        level.emplace_back(block / "resnets" / j, in, channels[i], 0, groups, kEps);
      }
      if (i + 1 == channels.size()) break;
      downsamples.emplace_back(block / "downsamplers" / 0, channels[i],
                               Downsample::Padding::kBottomRight);
    }
    mid.emplace(scope / "mid_block", channels.back(), groups, config.mid_block_add_attention);
    norm_out.emplace(scope / "conv_norm_out", groups, channels.back(), kEps);
    conv_out.emplace(scope / "conv_out", channels.back(), 2 * config.latent_channels, 3, 1, 1);
  }

  at::Tensor operator()(const at::Tensor& images) const {
    at::Tensor x = conv_in(images);
    for (size_t i = 0; i < levels.size(); ++i) {
      for (const ResnetBlock& resnet : levels[i]) x = resnet(x);
      if (i < downsamples.size()) x = downsamples[i](x);
    }
    return (*conv_out)(at::silu((*norm_out)((*mid)(x))));
  }

  Conv2d conv_in;
  std::vector<std::vector<ResnetBlock>> levels;
  std::vector<Downsample> downsamples;
  std::optional<MidBlock> mid;
  std::optional<GroupNorm> norm_out;
  std::optional<Conv2d> conv_out;
};

struct Decoder {
  Decoder(const ParameterScope& scope, const VaeConfig& config)
      : conv_in(scope / "conv_in", config.latent_channels, config.block_out_channels.back(), 3, 1,
                1),
        mid(scope / "mid_block", config.block_out_channels.back(), config.norm_num_groups,
            config.mid_block_add_attention) {
    const std::vector<int64_t> channels(config.block_out_channels.rbegin(),
                                        config.block_out_channels.rend());
    const int64_t groups = config.norm_num_groups;
    for (size_t i = 0; i < channels.size(); ++i) {
      const ParameterScope block = scope / "up_blocks" / i;
      std::vector<ResnetBlock>& level = levels.emplace_back();
      for (int64_t j = 0; j <= config.layers_per_block; ++j) {
        const int64_t in = j == 0 && i > 0 ? channels[i - 1] : channels[i];
        level.emplace_back(block / "resnets" / j, in, channels[i], 0, groups, kEps);
      }
      if (i + 1 < channels.size()) upsamples.emplace_back(block / "upsamplers" / 0, channels[i]);
    }
    norm_out.emplace(scope / "conv_norm_out", groups, channels.back(), kEps);
    conv_out.emplace(scope / "conv_out", channels.back(), config.out_channels, 3, 1, 1);
  }

  at::Tensor operator()(const at::Tensor& latents) const {
    at::Tensor x = mid(conv_in(latents));
    for (size_t i = 0; i < levels.size(); ++i) {
      for (const ResnetBlock& resnet : levels[i]) x = resnet(x);
      if (i < upsamples.size()) x = upsamples[i](x, 2 * x.size(2), 2 * x.size(3));
    }
    return (*conv_out)(at::silu((*norm_out)(x)));
  }

  Conv2d conv_in;
  MidBlock mid;
  std::vector<std::vector<ResnetBlock>> levels;
  std::vector<Upsample> upsamples;
  std::optional<GroupNorm> norm_out;
  std::optional<Conv2d> conv_out;
};

}  // namespace

struct Vae::Impl {
  explicit Impl(const VaeConfig& config)
      : config(config),
        encoder(root / "encoder", config),
        quant_conv(root / "quant_conv", 2 * config.latent_channels, 2 * config.latent_channels, 1),
        post_quant_conv(root / "post_quant_conv", config.latent_channels, config.latent_channels,
                        1),
        decoder(root / "decoder", config) {}

  VaeConfig config;
  Parameters parameters;
  ParameterScope root{parameters};
  Encoder encoder;
  Conv2d quant_conv;
  Conv2d post_quant_conv;
  Decoder decoder;
};

Vae::Vae(const VaeConfig& config) : impl_(std::make_unique<Impl>(config)) {}
Vae::Vae(Vae&&) noexcept = default;
Vae& Vae::operator=(Vae&&) noexcept = default;
Vae::~Vae() = default;

at::Tensor Vae::encode(const at::Tensor& images) const {
  const at::Tensor moments = impl_->quant_conv(impl_->encoder(to_channels_last(images)));
  const std::vector<at::Tensor> halves = moments.chunk(2, 1);
  return at::cat({halves[0], halves[1].clamp(-30.0, 20.0)}, 1).contiguous();
}

at::Tensor Vae::decode(const at::Tensor& latents) const {
  return impl_->decoder(impl_->post_quant_conv(to_channels_last(latents))).contiguous();
}

VaeConfig& Vae::config() { return impl_->config; }
const VaeConfig& Vae::config() const { return impl_->config; }
const Parameters& Vae::parameters() const { return impl_->parameters; }

}  // namespace kessoku::model
