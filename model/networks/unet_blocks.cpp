#include "model/networks/unet_blocks.h"

#include <ATen/ops/cat.h>

namespace kessoku::model {

namespace {

ResnetBlock make_resnet(const ParameterScope& scope, int64_t in, int64_t out,
                        const BlockShape& shape) {
  return ResnetBlock(scope, in, out, shape.time_channels, shape.groups, shape.eps);
}

at::Tensor run(const ResnetBlock& resnet, const at::Tensor& x, const Conditioning& conditioning) {
  return run_block(conditioning.recompute, {x, conditioning.time},
                   [&resnet](const Tensors& in) { return resnet(in[0], in[1]); });
}

/// Of x and what the down path left for it.
at::Tensor run(const ResnetBlock& resnet, const at::Tensor& x, const at::Tensor& skip,
               const Conditioning& conditioning) {
  return run_block(conditioning.recompute, {x, skip, conditioning.time},
                   [&resnet](const Tensors& in) {
                     return resnet(at::cat({in[0], in[1]}, 1), in[2]);
                   });
}

at::Tensor run(const SpatialTransformer& transformer, const at::Tensor& x,
               const Conditioning& conditioning) {
  return run_block(conditioning.recompute, {x, conditioning.text},
                   [&transformer](const Tensors& in) { return transformer(in[0], in[1]); });
}

}  // namespace

UNetDownBlock::UNetDownBlock(const ParameterScope& scope, int64_t in, int64_t out, bool downsample,
                             const BlockShape& shape) {
  for (int64_t i = 0; i < shape.layers; ++i) {
    resnets.push_back(make_resnet(scope / "resnets" / i, i == 0 ? in : out, out, shape));
    if (shape.attention) attentions.emplace_back(scope / "attentions" / i, out, shape.transformer);
  }
  if (downsample) {
    this->downsample.emplace(scope / "downsamplers" / 0, out, Downsample::Padding::kSymmetric);
  }
}

at::Tensor UNetDownBlock::operator()(at::Tensor x, const Conditioning& conditioning,
                                     Tensors& skips) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = run(resnets[i], x, conditioning);
    if (!attentions.empty()) x = run(attentions[i], x, conditioning);
    skips.push_back(x);
  }
  if (downsample) skips.push_back(x = (*downsample)(x));
  return x;
}

UNetMidBlock::UNetMidBlock(const ParameterScope& scope, int64_t channels, const BlockShape& shape)
    : first(make_resnet(scope / "resnets" / 0, channels, channels, shape)) {
  if (!shape.attention) return;
  attention.emplace(scope / "attentions" / 0, channels, shape.transformer);
  last.emplace(make_resnet(scope / "resnets" / 1, channels, channels, shape));
}

at::Tensor UNetMidBlock::operator()(const at::Tensor& x, const Conditioning& conditioning) const {
  const at::Tensor hidden = run(first, x, conditioning);
  return attention ? run(*last, run(*attention, hidden, conditioning), conditioning) : hidden;
}

UNetUpBlock::UNetUpBlock(const ParameterScope& scope, int64_t in, int64_t out, int64_t skip,
                         bool upsample, const BlockShape& shape) {
  for (int64_t i = 0; i < shape.layers; ++i) {
    const int64_t from_below = i == 0 ? in : out;
    const int64_t from_skip = i + 1 == shape.layers ? skip : out;
    resnets.push_back(make_resnet(scope / "resnets" / i, from_below + from_skip, out, shape));
    if (shape.attention) attentions.emplace_back(scope / "attentions" / i, out, shape.transformer);
  }
  if (upsample) this->upsample.emplace(scope / "upsamplers" / 0, out);
}

at::Tensor UNetUpBlock::operator()(at::Tensor x, const Conditioning& conditioning,
                                   Tensors& skips) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = run(resnets[i], x, skips.back(), conditioning);
    skips.pop_back();
    if (!attentions.empty()) x = run(attentions[i], x, conditioning);
  }
  if (upsample) x = (*upsample)(x, skips.back().size(2), skips.back().size(3));
  return x;
}

}  // namespace kessoku::model
