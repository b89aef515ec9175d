#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace kessoku::data {

/// Ranges of examples that threads count side by side: one a thread, but none so small that a
/// thread's start would take longer.
class Parts {
 public:
  Parts(uint64_t size, int threads)
      : size_(size), count_(std::clamp<uint64_t>(size / kLeast, 1, std::max(threads, 1))) {}

  size_t count() const { return count_; }
  /// The first example of a part; of part `count()`, the number of examples.
  uint64_t begin(size_t part) const {
    return size_ / count_ * part + std::min<uint64_t>(part, size_ % count_);
  }

 private:
  static constexpr uint64_t kLeast = 10'000;
  uint64_t size_;
  size_t count_;
};

}  // namespace kessoku::data
