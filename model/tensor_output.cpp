#include "model/tensor_output.h"

#include <ATen/ops/isfinite.h>
#include <c10/core/ScalarType.h>

#include "base/error.h"
#include "model/weight_file.h"

namespace kessoku::model {

size_t TensorOutput::bytes() const { return byte_count(dtype, shape).value(); }

at::Tensor convert(const at::Tensor& tensor, at::ScalarType dtype, const std::string& where) {
  if (tensor.scalar_type() == dtype) return tensor;
  at::Tensor converted = tensor.to(dtype);
  // Only a narrower exponent can overflow.
  if (dtype == at::kHalf && tensor.numel() > 0 && !converted.isfinite().all().item<bool>() &&
      tensor.isfinite().all().item<bool>()) {
    throw DataError(fmt::format("{}: holds values up to {}, which do not fit into f16; take bf16",
                                where, tensor.abs().max().item<double>()));
  }
  return converted;
}

TensorOutputs outputs_of(const Parameters& parameters, std::optional<at::ScalarType> dtype) {
  TensorOutputs outputs;
  for (const auto& [name, tensor] : parameters) {
    const at::ScalarType kept = tensor.scalar_type();
    const at::ScalarType wanted = c10::isFloatingType(kept) ? dtype.value_or(kept) : kept;
    outputs.push_back({name, wanted, tensor.sizes().vec(), [name = name, tensor = tensor, wanted] {
                         return convert(tensor.detach().cpu(), wanted,
                                        fmt::format("tensor \"{}\"", name))
                             .contiguous();
                       }});
  }
  return outputs;
}

}  // namespace kessoku::model
