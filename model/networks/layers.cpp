#include "model/networks/layers.h"

#include <ATen/ops/conv2d.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>

#include "model/kernels/sparse_embedding.h"
#include "model/networks/winograd.h"

namespace kessoku::model {

ParameterScope ParameterScope::operator/(const std::string& name) const {
  return ParameterScope(*parameters_, prefix_.empty() ? name : prefix_ + "." + name, device_);
}

at::Tensor ParameterScope::add(const std::string& name, at::IntArrayRef shape) const {
  at::Tensor tensor = at::empty(shape, at::TensorOptions(at::kFloat).device(device_));
  parameters_->push_back({prefix_.empty() ? name : prefix_ + "." + name, tensor});
  return tensor;
}

Conv2d::Conv2d(const ParameterScope& scope, int64_t in, int64_t out, int64_t kernel, int64_t stride,
               int64_t padding)
    : weight(scope.add("weight", {out, in, kernel, kernel})),
      bias(scope.add("bias", {out})),
      stride(stride),
      padding(padding) {}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  const bool pointwise = weight.size(2) == 1 && stride == 1 && padding == 0;
  if (pointwise && x.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    // The same sums as one matrix product, without reordering the weights.
    return at::linear(x.permute({0, 2, 3, 1}), weight.view({weight.size(0), weight.size(1)}), bias)
        .permute({0, 3, 1, 2});
  }
  if (stride == 1 && padding == 1 && suits_winograd(x, weight))
    return winograd_conv2d(x, weight, bias);
  const auto convolve = [&](const at::Tensor& input) {
    return at::conv2d(input, weight, bias, {stride, stride}, {padding, padding});
  };
  // oneDNN reorders weights to suit the activations at every call: slow from NCHW to channels-last.
  // Where there are more weights than activations, it is the activations that give way.
  if (x.is_cpu() && weight.numel() > x.numel()) {
    const at::Tensor input = x.contiguous();
    if (input.requires_grad()) {
      // Gradients keep to channels-last, too: what is added to them is summed in one order only.
      input.register_hook([](const at::Tensor& gradient) { return to_channels_last(gradient); });
    }
    return to_channels_last(convolve(input));
  }
  return convolve(x);
}

Linear::Linear(const ParameterScope& scope, int64_t in, int64_t out, bool with_bias)
    : weight(scope.add("weight", {out, in})) {
  if (with_bias) bias = scope.add("bias", {out});
}

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

GroupNorm::GroupNorm(const ParameterScope& scope, int64_t groups, int64_t channels, double eps)
    : weight(scope.add("weight", {channels})),
      bias(scope.add("bias", {channels})),
      groups(groups),
      eps(eps) {}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const {
  return at::group_norm(x, groups, weight, bias, eps);
}

LayerNorm::LayerNorm(const ParameterScope& scope, int64_t channels, double eps)
    : weight(scope.add("weight", {channels})), bias(scope.add("bias", {channels})), eps(eps) {}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  return at::layer_norm(x, weight.sizes(), weight, bias, eps);
}

Embedding::Embedding(const ParameterScope& scope, int64_t count, int64_t channels)
    : weight(scope.add("weight", {count, channels})) {}

at::Tensor Embedding::operator()(const at::Tensor& indices) const {
  // Of a vocabulary's gradient only the rows of a few words are not 0.
  return weight.is_cpu() && weight.grad().defined() ? sparse_embedding(weight, indices)
                                                    : at::embedding(weight, indices);
}

at::Tensor to_channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace kessoku::model
