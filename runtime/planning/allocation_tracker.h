#pragma once

#include <c10/util/ThreadLocalDebugInfo.h>

#include <cstdint>
#include <memory>

namespace kessoku::runtime {

/// Counts the bytes of tensors that this thread (and autograd for it) allocates and frees while it
/// lives, on whatever device; tensors of other threads are not known. Not to be nested, nor to be
/// used beside torch's profiler.
class AllocationTracker {
 public:
  AllocationTracker();
  AllocationTracker(const AllocationTracker&) = delete;
  AllocationTracker& operator=(const AllocationTracker&) = delete;
  ~AllocationTracker();

  int64_t live() const;
  /// The most since it was made, or since `restart_peak`.
  int64_t peak() const;
  void restart_peak();

 private:
  class Counter;
  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
  int log_level_;
};

}  // namespace kessoku::runtime
