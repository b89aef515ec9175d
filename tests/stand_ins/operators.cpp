// Stands in for libtorch_cuda.so on a machine without a GPU: LibTorch's CPU kernels compute on the
// memory of GPUs, which the host cannot reach. What a GPU would refuse is refused: a tensor of the
// CPU among tensors of the GPU, and what is more than its memory. Kernels run at once, but nobody
// may build on it: other streams and the host must have waited (stream_order, host_waits).
#include <ATen/core/stack.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <span>

#include "tests/stand_ins/aliases.h"
#include "tests/stand_ins/device_memory.h"
#include "tests/stand_ins/health.h"
#include "tests/stand_ins/host_waits.h"
#include "tests/stand_ins/thread_device.h"

namespace kessoku::stand_ins {

namespace {

using at::Tensor;

int64_t operators_until(const char* variable) {
  const char* count = std::getenv(variable);
  return count == nullptr ? std::numeric_limits<int64_t>::max() : std::atoll(count);
}

/// How many operators a GPU carries out before its memory is full, or before it breaks.
void strike() {
  static const int64_t full = operators_until("KESSOKU_STAND_IN_OPERATORS");
  static const int64_t broken = operators_until("KESSOKU_STAND_IN_BROKEN");
  static std::atomic<int64_t> operators = 0;
  const int64_t count = ++operators;
  TORCH_CHECK_WITH(OutOfMemoryError, count <= full,
                   "CUDA out of memory. Tried to allocate 2.00 GiB.");
  constexpr int kEccUncorrectable = 214;
  if (count > broken) break_gpu(kEccUncorrectable, "uncorrectable ECC error encountered");
}

bool is_copy_to_host(const std::string& name, std::span<const c10::IValue> arguments) {
  return name == "aten::copy_" && arguments[0].toTensor().is_cpu() &&
         arguments[1].toTensor().is_cuda();
}

bool is_copy_to_gpu(const std::string& name, std::span<const c10::IValue> arguments) {
  return name == "aten::copy_" && arguments[0].toTensor().is_cuda() &&
         arguments[1].toTensor().is_cpu();
}

/// Into page-locked memory; copies into other memory are done when the call returns.
bool is_late_copy_to_host(const std::string& name, std::span<const c10::IValue> arguments) {
  return is_copy_to_host(name, arguments) && arguments[2].toBool() &&
         arguments[0].toTensor().is_pinned();
}

/// Whether the host can only go on when the GPU has come this far.
bool waits(const std::string& name, std::span<const c10::IValue> arguments) {
  if (is_copy_to_gpu(name, arguments)) return !arguments[2].toBool();
  if (is_copy_to_host(name, arguments)) return !is_late_copy_to_host(name, arguments);
  return name == "aten::_local_scalar_dense" || name == "aten::equal" || name == "aten::nonzero" ||
         name == "aten::masked_select";
}

/// From the first element to the last.
void use(const Tensor& tensor, bool writes) {
  if (!tensor.defined() || !tensor.is_cuda() || tensor.numel() == 0) return;
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); ++i) last += (tensor.size(i) - 1) * tensor.stride(i);
  stream_order().use(current_stream(), tensor.const_data_ptr(),
                     static_cast<size_t>(last + 1) * tensor.itemsize(), writes);
}

void use_arguments(const c10::FunctionSchema& schema, std::span<const c10::IValue> arguments) {
  for (const c10::Argument& result : schema.returns())
    if (result.alias_info() != nullptr && !result.alias_info()->isWrite()) return;  // a view
  for (size_t i = 0; i < arguments.size(); ++i) {
    const c10::AliasInfo* alias = schema.arguments()[i].alias_info();
    const bool writes = alias != nullptr && alias->isWrite();
    const c10::IValue& value = arguments[i];
    if (value.isTensor()) use(value.toTensor(), writes);
    if (value.isTensorList())
      for (const Tensor& tensor : value.toTensorVector()) use(tensor, writes);
    if (value.isOptionalTensorList())
      for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
        if (tensor) use(*tensor, writes);
  }
}

/// An index that is out of bounds is found by a kernel, which ends the context.
void run_kernel(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const KernelScope scope(current_stream());
  try {
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (!text.starts_with("index ") || text.find(" out of ") == std::string::npos) throw;
    constexpr int kAssert = 710;
    break_gpu(kAssert, "device-side assert triggered");
    require_health();
  }
}

void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  strike();
  touch_device();
  const std::string& name = op.schema().name();
  const auto top = [&](size_t count) { return std::span(*stack).last(count); };
  const std::span<c10::IValue> arguments = top(op.schema().arguments().size());
  if (current_stream() != 0) stream(current_stream()).synchronize();
  try {
    use_arguments(op.schema(), arguments);
  } catch (c10::Error& error) {
    error.add_context(name);
    throw;
  }
  Tensor target;
  if (waits(name, arguments)) {
    wait_for_stream(current_stream());
  } else if (is_copy_to_gpu(name, arguments)) {
    read_late(arguments[1].toTensor(), current_stream());
  } else if (is_late_copy_to_host(name, arguments)) {
    target = arguments[0].toTensor();
    arguments[0] = at::empty_like(target);
  }
  Aliases aliases(op);
  for (c10::IValue& value : arguments) value = aliases.to_host(value);
  aliases.refuse_mixtures();
  run_kernel(op, stack);
  aliases.update();
  for (c10::IValue& value : top(op.schema().returns().size())) value = aliases.to_device(value);
  if (target.defined()) {
    write_late(target, stack->back().toTensor(), current_stream());
    stack->back() = target;
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run>());
}

// LibTorch has kernels of these for all devices, which ask for more of a GPU than is here.
TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  for (const char* name : {"copy_", "convolution", "convolution_backward", "_fused_sdp_choice"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run>());
}

}  // namespace

}  // namespace kessoku::stand_ins
