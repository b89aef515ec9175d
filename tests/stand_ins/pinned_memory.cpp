#include "tests/stand_ins/pinned_memory.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>

namespace kessoku::stand_ins {

namespace {

class PinnedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, c10::kCPU};
    constexpr size_t kPage = 4096;
    void* place = nullptr;
    if (::posix_memalign(&place, kPage, bytes) != 0) throw std::bad_alloc();
    const std::lock_guard lock(mutex_);
    blocks_[static_cast<const char*>(place)] = bytes;
    return {place, place, &free_block, c10::kCPU};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
  bool has(const char* data) {
    const std::lock_guard lock(mutex_);
    const auto after = blocks_.upper_bound(data);
    if (after == blocks_.begin()) return false;
    const auto& [begin, bytes] = *std::prev(after);
    return data < begin + bytes;
  }

 private:
  static void free_block(void* place);

  std::mutex mutex_;
  std::map<const char*, size_t> blocks_;
};

PinnedAllocator& allocator() {
  static auto* allocator = new PinnedAllocator;  // tensors may be freed late
  return *allocator;
}

void PinnedAllocator::free_block(void* place) {
  {
    const std::lock_guard lock(allocator().mutex_);
    allocator().blocks_.erase(static_cast<const char*>(place));
  }
  std::free(place);
}

}  // namespace

c10::Allocator* pinned_allocator() { return &allocator(); }
bool is_pinned(const void* data) { return allocator().has(static_cast<const char*>(data)); }

}  // namespace kessoku::stand_ins
