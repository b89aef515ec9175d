#include "model/weights/narrowing.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/scalar_tensor.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/weights/weight_file.h"

namespace kessoku::model {

double largest_value(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return 0;
  const bool tiny = c10::elementSize(tensor.scalar_type()) == 1;  // without kernels of their own
  const auto [least, most] = at::aminmax(tiny ? tensor.to(at::kFloat) : tensor.detach());
  const double low = least.item<double>(), high = most.item<double>();
  if (std::isnan(low) || std::isnan(high)) return std::nan("");
  return std::max(std::abs(low), std::abs(high));
}

bool fits(double value, at::ScalarType dtype) {
  return std::isfinite(at::scalar_tensor(value, at::kDouble).to(dtype).item<double>());
}

std::string explain_misfit(double value, at::ScalarType dtype) {
  if (!std::isfinite(value)) return "holds NaN or infinity: these weights are damaged or diverged";
  return fmt::format("holds values up to {:g}, which do not fit into {}; take {}", value,
                     short_name(dtype), dtype == at::kHalf ? "bf16 or fp32" : "fp32");
}

}  // namespace kessoku::model
