#include "model/unet_blocks.h"

#include <ATen/ops/cat.h>

namespace kessoku::model {

namespace {

ResnetBlock make_resnet(const ParameterScope& scope, int64_t in, int64_t out,
                        const BlockShape& shape) {
  return ResnetBlock(scope, in, out, shape.time_channels, shape.groups, shape.eps);
}

SpatialTransformer make_attention(const ParameterScope& scope, int64_t channels,
                                  const BlockShape& shape) {
  return SpatialTransformer(scope, channels, shape.context_channels, shape.heads, shape.groups,
                            shape.linear_projection);
}

}  // namespace

UNetDownBlock::UNetDownBlock(const ParameterScope& scope, int64_t in, int64_t out, bool downsample,
                             const BlockShape& shape) {
  for (int64_t i = 0; i < shape.layers; ++i) {
    resnets.push_back(make_resnet(scope / "resnets" / i, i == 0 ? in : out, out, shape));
    if (shape.attention) attentions.push_back(make_attention(scope / "attentions" / i, out, shape));
  }
  if (downsample) {
    this->downsample.emplace(scope / "downsamplers" / 0, out, Downsample::Padding::kSymmetric);
  }
}

at::Tensor UNetDownBlock::operator()(at::Tensor x, const Conditioning& conditioning,
                                     std::vector<at::Tensor>& skips) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = resnets[i](x, conditioning.time);
    if (!attentions.empty()) x = attentions[i](x, conditioning.text);
    skips.push_back(x);
  }
  if (downsample) skips.push_back(x = (*downsample)(x));
  return x;
}

UNetMidBlock::UNetMidBlock(const ParameterScope& scope, int64_t channels, const BlockShape& shape)
    : first(make_resnet(scope / "resnets" / 0, channels, channels, shape)),
      attention(make_attention(scope / "attentions" / 0, channels, shape)),
      last(make_resnet(scope / "resnets" / 1, channels, channels, shape)) {}

at::Tensor UNetMidBlock::operator()(const at::Tensor& x, const Conditioning& conditioning) const {
  return last(attention(first(x, conditioning.time), conditioning.text), conditioning.time);
}

UNetUpBlock::UNetUpBlock(const ParameterScope& scope, int64_t in, int64_t out, int64_t skip,
                         bool upsample, const BlockShape& shape) {
  for (int64_t i = 0; i < shape.layers; ++i) {
    const int64_t from_below = i == 0 ? in : out;
    const int64_t from_skip = i + 1 == shape.layers ? skip : out;
    resnets.push_back(make_resnet(scope / "resnets" / i, from_below + from_skip, out, shape));
    if (shape.attention) attentions.push_back(make_attention(scope / "attentions" / i, out, shape));
  }
  if (upsample) this->upsample.emplace(scope / "upsamplers" / 0, out);
}

at::Tensor UNetUpBlock::operator()(at::Tensor x, const Conditioning& conditioning,
                                   std::vector<at::Tensor>& skips) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    x = resnets[i](at::cat({x, skips.back()}, 1), conditioning.time);
    skips.pop_back();
    if (!attentions.empty()) x = attentions[i](x, conditioning.text);
  }
  if (upsample) x = (*upsample)(x, skips.back().size(2), skips.back().size(3));
  return x;
}

}  // namespace kessoku::model
