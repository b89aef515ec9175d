#include "tests/stand_ins/gpu_allocator.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <array>
#include <cstdlib>
#include <mutex>

namespace kessoku::stand_ins {

namespace {

/// What LibTorch asks of CUDA's allocator: limit, bytes in use, and the most there were.
class GpuAllocator final : public c10::DeviceAllocator {
 public:
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    const std::lock_guard lock(mutex_);
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes[0] = stats.reserved_bytes[0] = used_.at(static_cast<size_t>(device));
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex device) override {
    const std::lock_guard lock(mutex_);
    used_.at(static_cast<size_t>(device)).reset_peak();
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    const std::lock_guard lock(mutex_);
    const auto used = static_cast<size_t>(used_.at(static_cast<size_t>(device)).current);
    return {limit_ - used, limit_};
  }
  c10::DataPtr allocate(size_t) override {
    TORCH_CHECK(false, "stand-in: memory of a GPU is that of its tensors");
  }
  void copy_data(void*, const void*, std::size_t) const override {
    TORCH_CHECK(false, "stand-in: memory of a GPU is that of its tensors");
  }

  void take(c10::Device device, size_t bytes) {
    const std::lock_guard lock(mutex_);
    auto& used = used_.at(static_cast<size_t>(device.index()));
    TORCH_CHECK_WITH(OutOfMemoryError, static_cast<size_t>(used.current) + bytes <= limit_,
                     "CUDA out of memory. Tried to allocate ", bytes, " bytes. GPU ",
                     static_cast<int>(device.index()), " has ", limit_, ", of which ", used.current,
                     " are in use.");
    used.increase(bytes);
  }
  void give_back(c10::Device device, size_t bytes) {
    const std::lock_guard lock(mutex_);
    used_.at(static_cast<size_t>(device.index())).decrease(bytes);
  }

 private:
  static size_t limit() {
    const char* bytes = std::getenv("KESSOKU_STAND_IN_MEMORY");
    return bytes == nullptr ? size_t{80} << 30 : std::strtoull(bytes, nullptr, 10);
  }

  const size_t limit_ = limit();
  std::mutex mutex_;
  std::array<c10::CachingAllocator::Stat, 64> used_{};
};

GpuAllocator& allocator() {
  static auto* allocator = new GpuAllocator;  // tensors may be freed late
  return *allocator;
}

/// Where LibTorch looks for it.
const bool is_registered = [] {
  c10::SetAllocator(c10::kCUDA, &allocator());
  return true;
}();

}  // namespace

void take_memory(c10::Device device, size_t bytes) { allocator().take(device, bytes); }
void give_back_memory(c10::Device device, size_t bytes) { allocator().give_back(device, bytes); }

}  // namespace kessoku::stand_ins
