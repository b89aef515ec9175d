#pragma once

#include "model/networks/parameter.h"

namespace kessoku::model {

/// A place in the tree of a network that is being built: new parameters are registered under its
/// dotted name. Parameters are fp32, contiguous and uninitialized.
class ParameterScope {
 public:
  explicit ParameterScope(Parameters& parameters, std::string prefix = {},
                          at::Device device = at::kCPU)
      : parameters_(&parameters), prefix_(std::move(prefix)), device_(device) {}

  /// The scope of a child, "prefix.name".
  ParameterScope operator/(const std::string& name) const;
  ParameterScope operator/(int64_t index) const { return *this / std::to_string(index); }
  at::Tensor add(const std::string& name, at::IntArrayRef shape) const;

 private:
  Parameters* parameters_;
  std::string prefix_;
  at::Device device_;
};

/// Square kernels, zero padding.
struct Conv2d {
  Conv2d(const ParameterScope& scope, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1,
         int64_t padding = 0);
  /// (B, C, H, W), NCHW or channels-last, which the result keeps.
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight;  ///< (out, in, kernel, kernel)
  at::Tensor bias;
  int64_t stride, padding;
};

struct Linear {
  Linear(const ParameterScope& scope, int64_t in, int64_t out, bool with_bias = true);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight;  ///< (out, in)
  at::Tensor bias;    ///< undefined without one
};

struct GroupNorm {
  GroupNorm(const ParameterScope& scope, int64_t groups, int64_t channels, double eps);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight, bias;
  int64_t groups;
  double eps;
};

/// Over the last dimension.
struct LayerNorm {
  LayerNorm(const ParameterScope& scope, int64_t channels, double eps = 1e-5);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight, bias;
  double eps;
};

struct Embedding {
  Embedding(const ParameterScope& scope, int64_t count, int64_t channels);
  at::Tensor operator()(const at::Tensor& indices) const;

  at::Tensor weight;  ///< (count, channels)
};

/// Convolutions, norms and attention are fastest on channels-last activations: networks turn their
/// input once and all else follows.
at::Tensor to_channels_last(const at::Tensor& x);

}  // namespace kessoku::model
