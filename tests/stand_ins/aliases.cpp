#include "tests/stand_ins/aliases.h"

#include <c10/core/CPUAllocator.h>

#include <utility>

#include "tests/stand_ins/device_memory.h"
#include "tests/stand_ins/gpu_allocator.h"
#include "tests/stand_ins/stream_order.h"
#include "tests/stand_ins/thread_device.h"

namespace kessoku::stand_ins {

namespace {

using at::Tensor;

/// The memory of a GPU's `storage`, which it keeps, as kernels see it.
c10::Storage as_kernels_see(const c10::Storage& storage) {
  auto* kept = new c10::Storage(storage);
  c10::DataPtr memory(
      kernel_address(storage.data()), kept,
      [](void* kept) { delete static_cast<c10::Storage*>(kept); }, c10::kCPU);
  return {c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(memory),
          c10::GetCPUAllocator(), /*resizable=*/true};
}

/// What an operator made, which it keeps, as the host sees it.
c10::Storage as_host_sees(const c10::Storage& storage, c10::Device device) {
  struct Kept {
    c10::Storage storage;
    c10::DataPtr copy;
    c10::Device device;
    size_t bytes;
    ~Kept() { give_back_memory(device, bytes); }
  };
  take_memory(device, storage.nbytes());
  auto* kept = new Kept{storage, {}, device, storage.nbytes()};
  void* place = device_address(storage.data());
  if (place == nullptr && storage.nbytes() > 0) {  // something that LibTorch keeps
    const KernelScope scope(current_stream());
    kept->copy = copy_to_device_memory(storage.data(), storage.nbytes());
    place = device_address(kept->copy.get());
  }
  c10::DataPtr memory(
      place, kept, [](void* kept) { delete static_cast<Kept*>(kept); }, device);
  stream_order().use(current_stream(), place, storage.nbytes(), /*writes=*/true);
  return {c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(memory), nullptr,
          /*resizable=*/false};
}

Tensor tensor_over(const c10::Storage& storage, const Tensor& like) {
  Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage),
      c10::DispatchKeySet(storage.device().is_cuda() ? c10::DispatchKey::CUDA
                                                     : c10::DispatchKey::CPU),
      like.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(),
                                                      like.storage_offset());
  return tensor;
}

}  // namespace

Aliases::Aliases(const c10::OperatorHandle& op) : op_(op), device_(c10::kCUDA, current_device()) {}

Tensor Aliases::host(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) {
    if (tensor.defined() && tensor.dim() > 0) ++of_cpu_;
    if (tensor.defined()) on_cpu_.push_back(tensor);
    return tensor;
  }
  for (const Pair& pair : pairs_)
    if (pair.device.is_same(tensor)) return pair.host;
  Tensor alias = tensor_over(as_kernels_see(tensor.storage()), tensor);
  pairs_.push_back({tensor, alias, alias.storage()});
  return alias;
}

Tensor Aliases::device(const Tensor& result) const {
  if (!result.defined() || result.is_cuda()) return result;
  for (const Tensor& tensor : on_cpu_)
    if (tensor.is_same(result)) return result;  // what was copied to
  for (const Pair& pair : pairs_) {
    if (pair.host.is_same(result)) return pair.device;
    if (pair.before.is_alias_of(result.storage()))
      return tensor_over(pair.device.storage(), result);  // a view
  }
  return tensor_over(as_host_sees(result.storage(), device_), result);
}

void Aliases::update() const {
  for (const Pair& pair : pairs_) {
    c10::TensorImpl* impl = pair.device.unsafeGetTensorImpl();
    if (pair.host.storage().data() != kernel_address(pair.device.storage().data()))
      impl->set_storage_keep_dtype(as_host_sees(pair.host.storage(), device_));
    if (pair.host.sizes() != pair.device.sizes() || pair.host.strides() != pair.device.strides())
      impl->set_sizes_and_strides(pair.host.sizes(), pair.host.strides());
  }
}

void Aliases::refuse_mixtures() {
  if (!pairs_.empty()) device_ = pairs_.front().device.device();
  for (const Pair& pair : pairs_) {
    TORCH_CHECK(pair.device.device() == device_ || pair.device.dim() == 0, op_.schema().name(),
                ": tensors of ", device_, " and ", pair.device.device());
  }
  TORCH_CHECK(pairs_.empty() || of_cpu_ == 0 || op_.schema().name() == "aten::copy_",
              op_.schema().name(), ": a tensor is on the CPU, others are on ", device_);
}

c10::IValue Aliases::to_host(const c10::IValue& value) {
  if (value.isTensor()) return host(value.toTensor());
  if (value.isDevice()) {
    if (value.toDevice().has_index()) device_ = value.toDevice();
    return c10::Device(c10::kCPU);
  }
  if (value.isTensorList()) {
    c10::List<Tensor> list;
    for (const Tensor& tensor : value.toTensorVector()) list.push_back(host(tensor));
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> list;
    for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
      list.push_back(tensor ? std::optional(host(*tensor)) : std::nullopt);
    return list;
  }
  return value;
}

c10::IValue Aliases::to_device(const c10::IValue& value) const {
  if (value.isTensor()) return device(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<Tensor> list;
  for (const Tensor& tensor : value.toTensorVector()) list.push_back(device(tensor));
  return list;
}

}  // namespace kessoku::stand_ins
