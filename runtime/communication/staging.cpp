#include "runtime/communication/staging.h"

#include <ATen/ops/empty.h>

#include <stdexcept>

namespace kessoku::runtime {

void Staging::reserve(int64_t numel, const at::TensorOptions& options) {
  taken_ = 0;
  const bool fits = memory_.defined() && memory_.numel() >= numel &&
                    memory_.scalar_type() == c10::typeMetaToScalarType(options.dtype());
  if (fits) return;
  memory_.reset();  // first, so that both are never there at once
  memory_ = at::empty({numel}, options);
}

at::Tensor Staging::take(int64_t numel) {
  if (taken_ + numel > memory_.numel()) throw std::logic_error("more staging than was reserved");
  taken_ += numel;
  return memory_.narrow(0, taken_ - numel, numel);
}

}  // namespace kessoku::runtime
