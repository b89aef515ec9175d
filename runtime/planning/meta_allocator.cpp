#include "runtime/planning/meta_allocator.h"

#include <c10/core/Allocator.h>

namespace kessoku::runtime {

namespace {

void report(int64_t bytes) {
  if (c10::memoryProfilingEnabled())
    c10::reportMemoryUsageToProfiler(nullptr, bytes, 0, 0, c10::DeviceType::Meta);
}

/// Instead of memory a tensor has its size.
class MetaAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const auto size = static_cast<int64_t>(bytes);
    report(size);
    return {nullptr, new int64_t(size), &free, c10::DeviceType::Meta};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void*, const void*, std::size_t) const override {}

 private:
  static void free(void* size) {
    report(-*static_cast<int64_t*>(size));
    delete static_cast<int64_t*>(size);
  }
};

}  // namespace

void count_meta_tensors() {
  static MetaAllocator allocator;
  constexpr uint8_t kAboveLibTorchs = 1;
  c10::SetAllocator(c10::DeviceType::Meta, &allocator, kAboveLibTorchs);
}

}  // namespace kessoku::runtime
