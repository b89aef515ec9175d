#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>

namespace kessoku::model {

/// The weight of a convolution whose network may be frozen. oneDNN computes with weights in an
/// order of its own, into which LibTorch brings them at every call; those of a frozen network are
/// brought into it once, at their first use, and their first form is freed. Results differ by
/// rounding.
class PackedWeight {
 public:
  /// `weight` (out, in, k, k) is the layer's; `frozen` the network's.
  PackedWeight(at::Tensor weight, std::shared_ptr<const bool> frozen);

  /// Whether the network is frozen and the processor, x's type and this LibTorch allow for it: then
  /// only `convolve` has the weight. For all x of a network it is the same.
  bool replaces_plain(const at::Tensor& x) const;
  /// x (B, in, H, W). Returns (B, out, …), channels-last. Threads may share it.
  at::Tensor convolve(const at::Tensor& x, const at::Tensor& bias, int64_t stride, int64_t padding);

 private:
  at::Tensor weight_;
  std::shared_ptr<const bool> frozen_;
  std::once_flag once_;
  at::Tensor packed_;  ///< opaque
};

}  // namespace kessoku::model
