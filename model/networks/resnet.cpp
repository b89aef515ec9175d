#include "model/networks/resnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace kessoku::model {

ResnetBlock::ResnetBlock(const ParameterScope& scope, int64_t in, int64_t out,
                         int64_t time_channels, int64_t groups, double eps)
    : norm1(scope / "norm1", groups, in, eps),
      conv1(scope / "conv1", in, out, 3, 1, 1),
      time_projection(
          time_channels > 0
              ? std::optional<Linear>(std::in_place, scope / "time_emb_proj", time_channels, out)
              : std::nullopt),
      norm2(scope / "norm2", groups, out, eps),
      conv2(scope / "conv2", out, out, 3, 1, 1) {
  if (in != out) shortcut.emplace(scope / "conv_shortcut", in, out, 1);
}

at::Tensor ResnetBlock::operator()(const at::Tensor& x, const at::Tensor& time) const {
  at::Tensor hidden = conv1(at::silu(norm1(x)));
  if (time_projection) hidden = hidden + (*time_projection)(time).unsqueeze(-1).unsqueeze(-1);
  hidden = conv2(at::silu(norm2(hidden)));
  return (shortcut ? (*shortcut)(x) : x) + hidden;
}

Downsample::Downsample(const ParameterScope& scope, int64_t channels, Padding padding)
    : padding(padding),
      conv(scope / "conv", channels, channels, 3, 2, padding == Padding::kSymmetric ? 1 : 0) {}

at::Tensor Downsample::operator()(const at::Tensor& x) const {
  return conv(padding == Padding::kSymmetric ? x : at::constant_pad_nd(x, {0, 1, 0, 1}));
}

Upsample::Upsample(const ParameterScope& scope, int64_t channels)
    : conv(scope / "conv", channels, channels, 3, 1, 1) {}

at::Tensor Upsample::operator()(const at::Tensor& x, int64_t height, int64_t width) const {
  return conv(at::upsample_nearest2d(x, {height, width}));
}

}  // namespace kessoku::model
