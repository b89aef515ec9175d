#include "model/networks/vae_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/silu.h>

namespace kessoku::model {

namespace {

constexpr double kEps = 1e-6;

template <typename Layer>
at::Tensor run(const Layer& layer, const at::Tensor& x, bool recompute) {
  return run_block(recompute, {x}, [&layer](const Tensors& in) { return layer(in[0]); });
}

bool has_attention(const std::string& block_type) { return block_type.starts_with("Attn"); }

}  // namespace

PixelAttention::PixelAttention(const ParameterScope& scope, int64_t channels, int64_t groups)
    : norm(scope / "group_norm", groups, channels, kEps),
      to_q(scope / "to_q", channels, channels),
      to_k(scope / "to_k", channels, channels),
      to_v(scope / "to_v", channels, channels),
      to_out(scope / "to_out" / 0, channels, channels) {}

at::Tensor PixelAttention::operator()(const at::Tensor& x) const {
  const int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const at::Tensor tokens =
      norm(x).permute({0, 2, 3, 1}).reshape({batch, height * width, channels});
  const at::Tensor seen = to_out(multi_head_attention(to_q(tokens), to_k(tokens), to_v(tokens), 1));
  return x + seen.view({batch, height, width, channels}).permute({0, 3, 1, 2});
}

VaeLayers::VaeLayers(const ParameterScope& scope, int64_t in, int64_t out, int64_t layers,
                     int64_t groups, bool with_attention) {
  for (int64_t i = 0; i < layers; ++i) {
    resnets.emplace_back(scope / "resnets" / i, i == 0 ? in : out, out, 0, groups, kEps);
    if (with_attention) attentions.emplace_back(scope / "attentions" / i, out, groups);
  }
}

at::Tensor VaeLayers::operator()(at::Tensor x, bool recompute) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = run(resnets[i], x, recompute);
    if (!attentions.empty()) x = run(attentions[i], x, recompute);
  }
  return x;
}

VaeMidBlock::VaeMidBlock(const ParameterScope& scope, int64_t channels, int64_t groups,
                         bool with_attention)
    : first(scope / "resnets" / 0, channels, channels, 0, groups, kEps),
      attention(with_attention ? std::optional<PixelAttention>(
                                     std::in_place, scope / "attentions" / 0, channels, groups)
                               : std::nullopt),
      last(scope / "resnets" / 1, channels, channels, 0, groups, kEps) {}

at::Tensor VaeMidBlock::operator()(const at::Tensor& x, bool recompute) const {
  const at::Tensor hidden = run(first, x, recompute);
  return run(last, attention ? run(*attention, hidden, recompute) : hidden, recompute);
}

VaeEncoder::VaeEncoder(const ParameterScope& scope, const VaeConfig& config)
    : conv_in(scope / "conv_in", config.in_channels, config.block_out_channels[0], 3, 1, 1) {
  const std::vector<int64_t>& channels = config.block_out_channels;
  const int64_t groups = config.norm_num_groups;
  for (size_t i = 0; i < channels.size(); ++i) {
    const ParameterScope block = scope / "down_blocks" / i;
    levels.emplace_back(block, channels[i == 0 ? 0 : i - 1], channels[i], config.layers_per_block,
                        groups, has_attention(config.down_block_types[i]));
    if (i + 1 == channels.size()) break;
    downsamples.emplace_back(block / "downsamplers" / 0, channels[i],
                             Downsample::Padding::kBottomRight);
  }
  mid.emplace(scope / "mid_block", channels.back(), groups, config.mid_block_add_attention);
  norm_out.emplace(scope / "conv_norm_out", groups, channels.back(), kEps);
  conv_out.emplace(scope / "conv_out", channels.back(), 2 * config.latent_channels, 3, 1, 1);
}

at::Tensor VaeEncoder::operator()(const at::Tensor& images, bool recompute) const {
  at::Tensor x = conv_in(images);
  for (size_t i = 0; i < levels.size(); ++i) {
    x = levels[i](x, recompute);
    if (i < downsamples.size()) x = run(downsamples[i], x, recompute);
  }
  return (*conv_out)(at::silu((*norm_out)((*mid)(x, recompute))));
}

VaeDecoder::VaeDecoder(const ParameterScope& scope, const VaeConfig& config)
    : conv_in(scope / "conv_in", config.latent_channels, config.block_out_channels.back(), 3, 1, 1),
      mid(scope / "mid_block", config.block_out_channels.back(), config.norm_num_groups,
          config.mid_block_add_attention) {
  const std::vector<int64_t> channels(config.block_out_channels.rbegin(),
                                      config.block_out_channels.rend());
  const int64_t groups = config.norm_num_groups;
  for (size_t i = 0; i < channels.size(); ++i) {
    const ParameterScope block = scope / "up_blocks" / i;
    levels.emplace_back(block, channels[i == 0 ? 0 : i - 1], channels[i],
                        config.layers_per_block + 1, groups,
                        has_attention(config.up_block_types[i]));
    if (i + 1 < channels.size()) upsamples.emplace_back(block / "upsamplers" / 0, channels[i]);
  }
  norm_out.emplace(scope / "conv_norm_out", groups, channels.back(), kEps);
  conv_out.emplace(scope / "conv_out", channels.back(), config.out_channels, 3, 1, 1);
}

at::Tensor VaeDecoder::operator()(const at::Tensor& latents, bool recompute) const {
  at::Tensor x = mid(conv_in(latents), recompute);
  for (size_t i = 0; i < levels.size(); ++i) {
    x = levels[i](x, recompute);
    if (i == upsamples.size()) break;
    const Upsample& upsample = upsamples[i];
    x = run_block(recompute, {x}, [&upsample](const Tensors& in) {
      return upsample(in[0], 2 * in[0].size(2), 2 * in[0].size(3));
    });
  }
  return (*conv_out)(at::silu((*norm_out)(x)));
}

}  // namespace kessoku::model
