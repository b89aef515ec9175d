#pragma once

#include <functional>
#include <span>

#include "model/networks/parameter.h"

namespace kessoku::model {

/// A tensor that is about to be written: its shape is known before its values are made, so that
/// only one is in memory at a time.
struct TensorOutput {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> make;  ///< of that dtype and shape; contiguous, on the CPU
  std::function<void()> release;     ///< called when it has been written; may be empty
  /// If there are any: contiguous tensors that hold its values, one after the other; then `make` is
  /// not asked. On any device.
  std::vector<at::Tensor> pieces{};

  size_t bytes() const;
  /// Makes it, hands its bytes over and releases it.
  void write(const std::function<void(std::span<const std::byte>)>& write) const;
};

using TensorOutputs = std::vector<TensorOutput>;

/// `parameters` as they are, or, if given, in `dtype` (those of floating point).
TensorOutputs outputs_of(const Parameters& parameters, std::optional<at::ScalarType> dtype = {});

}  // namespace kessoku::model
