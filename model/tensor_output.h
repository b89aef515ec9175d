#pragma once

#include <functional>

#include "model/parameter.h"

namespace kessoku::model {

/// A tensor that is about to be written: its shape is known before its values are made, so that
/// only one is in memory at a time.
struct TensorOutput {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> make;  ///< of that dtype and shape; contiguous, on the CPU

  size_t bytes() const;
};

using TensorOutputs = std::vector<TensorOutput>;

/// `parameters` as they are, or, if given, in `dtype` (those of floating point).
TensorOutputs outputs_of(const Parameters& parameters, std::optional<at::ScalarType> dtype = {});

/// `tensor` in `dtype`. Throws DataError naming `where` if a finite value would become infinite.
at::Tensor convert(const at::Tensor& tensor, at::ScalarType dtype, const std::string& where);

}  // namespace kessoku::model
