#pragma once

#include <ATen/core/Tensor.h>

namespace kessoku::model {

/// The largest absolute value of a tensor of floating point: infinity or NaN if it holds one, 0 if
/// it is empty.
double largest_value(const at::Tensor& tensor);

/// Whether a value, rounded to `dtype`, is finite.
bool fits(double value, at::ScalarType dtype);

/// What to say of a tensor that `fits` says no of: that it holds NaN or infinity, or a value that
/// is too large for `dtype`, and what to do.
std::string explain_misfit(double value, at::ScalarType dtype);

}  // namespace kessoku::model
