// What LibTorch asks of its CUDA library beside kernels, streams and memory.
#include <ATen/detail/CUDAHooksInterface.h>

#include "tests/stand_ins/pinned_memory.h"
#include "tests/stand_ins/thread_device.h"

namespace kessoku::stand_ins {

namespace {

/// The name under which LibTorch looks for it.
struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return device_count() > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  bool hasCUDA() const override { return device_count() > 0; }
  c10::DeviceIndex deviceCount() const override {
    return static_cast<c10::DeviceIndex>(device_count());
  }
  c10::DeviceIndex current_device() const override { return stand_ins::current_device(); }
  c10::DeviceIndex getCurrentDevice() const override { return stand_ins::current_device(); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return pinned_allocator(); }
  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
};

}  // namespace

}  // namespace kessoku::stand_ins

namespace at {
using kessoku::stand_ins::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks)
}  // namespace at
