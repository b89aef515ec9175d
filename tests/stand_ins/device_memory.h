#pragma once

#include <c10/core/Allocator.h>

#include <cstddef>

namespace kessoku::stand_ins {

/// Memory of GPUs has two addresses. Tensors hold the first, where nobody may read or write: a host
/// that does ends with SIGSEGV. Kernels, copies and NCCL use the second.
void* kernel_address(const void* device_address);
/// nullptr for what is not memory of a GPU.
void* device_address(const void* kernel_address);

/// While it lives, what this thread asks LibTorch's CPU allocator for is memory of a GPU (its
/// kernel address): operators that run inside make tensors for the GPU. As CUDA's allocator, it
/// keeps what is freed for the stream that it was allocated for. Contents are not zeros but NaN.
class KernelScope {
 public:
  explicit KernelScope(int stream);
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;
  ~KernelScope();

 private:
  int before_;
};

/// A copy in memory of a GPU, inside a KernelScope.
c10::DataPtr copy_to_device_memory(const void* data, size_t bytes);

}  // namespace kessoku::stand_ins
