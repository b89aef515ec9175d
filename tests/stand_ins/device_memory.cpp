#include "tests/stand_ins/device_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "tests/stand_ins/stream.h"

namespace kessoku::stand_ins {

namespace {

constexpr size_t kUnit = 512;  // bytes; as of CUDA's allocator

/// A file in memory that is mapped twice. Of its free blocks the smallest is taken that is large
/// enough.
class Arena {
 public:
  Arena() {
    const int file = ::memfd_create("kessoku-stand-in-gpu", MFD_CLOEXEC);
    TORCH_CHECK(file >= 0 && ::ftruncate(file, kBytes) == 0, "stand-in: no memory for a GPU");
    device_ = map(file, PROT_NONE);
    kernel_ = map(file, PROT_READ | PROT_WRITE);
    ::close(file);
    ::madvise(device_, kBytes, MADV_DONTDUMP);
    ::madvise(kernel_, kBytes, MADV_DONTDUMP);
    put(0, kBytes);
  }

  char* device() const { return device_; }
  char* kernel() const { return kernel_; }
  static constexpr size_t kBytes = size_t{32} << 30;  // of addresses; pages come when they are used

  void* take(size_t bytes) {
    const size_t size = (bytes + kUnit - 1) / kUnit * kUnit;
    const std::lock_guard lock(mutex_);
    const auto fitting = by_size_.lower_bound({size, 0});
    TORCH_CHECK(fitting != by_size_.end(), "stand-in: no addresses are left");
    const auto [room, begin] = *fitting;
    erase(begin, room);
    if (room > size) put(begin + size, room - size);
    taken_[begin] = size;
    std::memset(kernel_ + begin, 0xff, size);
    return kernel_ + begin;
  }

  size_t give_back(const void* place) {
    const std::lock_guard lock(mutex_);
    const auto taken = taken_.find(static_cast<size_t>(static_cast<const char*>(place) - kernel_));
    size_t begin = taken->first, size = taken->second;
    const size_t bytes = size;
    taken_.erase(taken);
    if (const auto next = free_.find(begin + size); next != free_.end()) {
      const size_t more = next->second;
      erase(begin + size, more);
      size += more;
    }
    if (auto before = free_.lower_bound(begin); before != free_.begin()) {
      --before;
      const auto [first, more] = *before;
      if (first + more == begin) {
        erase(first, more);
        begin = first;
        size += more;
      }
    }
    put(begin, size);
    return bytes;
  }

 private:
  static char* map(int file, int protection) {
    void* place = ::mmap(nullptr, kBytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
    TORCH_CHECK(place != MAP_FAILED, "stand-in: no addresses for a GPU's memory");
    return static_cast<char*>(place);
  }
  void put(size_t begin, size_t size) {
    free_[begin] = size;
    by_size_.insert({size, begin});
  }
  void erase(size_t begin, size_t size) {
    free_.erase(begin);
    by_size_.erase({size, begin});
  }

  char *device_, *kernel_;
  std::mutex mutex_;
  std::map<size_t, size_t> free_, taken_;  // begin, bytes
  std::set<std::pair<size_t, size_t>> by_size_;
};

std::array<Arena, kStreams + 1>& arenas() {  // never destroyed: tensors may be freed late
  static auto* arenas = new std::array<Arena, kStreams + 1>;
  return *arenas;
}

constexpr int kNone = -1;
thread_local int kernel_stream = kNone;

void report(void* place, int64_t bytes) {
  c10::reportMemoryUsageToProfiler(place, bytes, 0, 0, c10::Device(c10::kCUDA, 0));
}

void give_back(void* place) {
  for (Arena& arena : arenas()) {
    const char* begin = arena.kernel();
    if (place < begin || place >= begin + Arena::kBytes) continue;
    report(place, -static_cast<int64_t>(arena.give_back(place)));
  }
}

c10::DataPtr take(size_t bytes) {
  if (bytes == 0) return {nullptr, c10::kCPU};
  void* place = arenas()[static_cast<size_t>(kernel_stream)].take(bytes);
  report(place, static_cast<int64_t>((bytes + kUnit - 1) / kUnit * kUnit));
  return {place, place, &give_back, c10::kCPU};
}

c10::Allocator* host_allocator() {
  static c10::Allocator* allocator = c10::GetCPUAllocator();
  return allocator;
}

/// LibTorch's allocator of the CPU, but within kernels.
class KernelAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    return kernel_stream == kNone ? host_allocator()->allocate(bytes) : take(bytes);
  }
  /// Kernels of oneDNN take and give back plain addresses.
  c10::DeleterFnPtr raw_deleter() const override {
    return [](void* place) {
      device_address(place) != nullptr ? give_back(place) : host_allocator()->raw_deallocate(place);
    };
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

const bool is_registered = [] {
  host_allocator();
  c10::SetCPUAllocator(new KernelAllocator, /*priority=*/1);
  return true;
}();

}  // namespace

void* kernel_address(const void* device_address) {
  const auto* place = static_cast<const char*>(device_address);
  for (const Arena& arena : arenas()) {
    if (place >= arena.device() && place < arena.device() + Arena::kBytes)
      return arena.kernel() + (place - arena.device());
  }
  TORCH_CHECK(device_address == nullptr, "stand-in: a kernel was given memory of the host");
  return nullptr;
}

void* device_address(const void* kernel_address) {
  const auto* place = static_cast<const char*>(kernel_address);
  for (const Arena& arena : arenas()) {
    if (place >= arena.kernel() && place < arena.kernel() + Arena::kBytes)
      return arena.device() + (place - arena.kernel());
  }
  return nullptr;
}

KernelScope::KernelScope(int stream) : before_(kernel_stream) { kernel_stream = stream; }
KernelScope::~KernelScope() { kernel_stream = before_; }

c10::DataPtr copy_to_device_memory(const void* data, size_t bytes) {
  c10::DataPtr copy = take(bytes);
  if (bytes > 0) std::memcpy(copy.get(), data, bytes);
  return copy;
}

}  // namespace kessoku::stand_ins
