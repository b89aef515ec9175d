#include "model/weights/lazy_tensor.h"

#include <c10/core/ScalarType.h>

#include <cmath>

#include "base/error.h"
#include "model/weights/narrowing.h"
#include "model/weights/weight_file.h"

namespace kessoku::model {

namespace {

/// Throws DataError if a finite value would become infinite.
at::Tensor convert(const std::string& name, const at::Tensor& tensor, at::ScalarType dtype) {
  if (tensor.scalar_type() != dtype) {
    const double largest = largest_value(tensor);
    if (std::isfinite(largest) && !fits(largest, dtype))
      throw DataError(fmt::format("tensor \"{}\" {}", name, explain_misfit(largest, dtype)));
  }
  return tensor.detach().to(at::kCPU, dtype).contiguous();
}

}  // namespace

size_t TensorOutput::bytes() const { return byte_count(dtype, shape).value(); }

void TensorOutput::write(const std::function<void(std::span<const std::byte>)>& write) const {
  for (const at::Tensor& part : pieces.empty() ? std::vector{make()} : pieces) {
    const at::Tensor tensor = part.cpu();
    write({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  if (release) release();
}

TensorOutputs outputs_of(const Parameters& parameters, std::optional<at::ScalarType> dtype) {
  TensorOutputs outputs;
  for (const auto& [name, tensor] : parameters) {
    const at::ScalarType kept = tensor.scalar_type();
    const at::ScalarType wanted = c10::isFloatingType(kept) ? dtype.value_or(kept) : kept;
    outputs.push_back(
        {name,
         wanted,
         tensor.sizes().vec(),
         [name = name, tensor = tensor, wanted] { return convert(name, tensor, wanted); },
         {}});
  }
  return outputs;
}

}  // namespace kessoku::model
