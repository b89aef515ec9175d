#include "model/weights/lazy_tensor.h"

#include <c10/core/ScalarType.h>

#include "model/weights/weight_file.h"

namespace kessoku::model {

size_t TensorOutput::bytes() const { return byte_count(dtype, shape).value(); }

void TensorOutput::write(const std::function<void(std::span<const std::byte>)>& write) const {
  const at::Tensor tensor = make();
  write({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
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
         [tensor = tensor, wanted] { return tensor.detach().to(at::kCPU, wanted).contiguous(); },
         {}});
  }
  return outputs;
}

}  // namespace kessoku::model
