#include "runtime/planning/allocation_tracker.h"

#include <c10/core/Allocator.h>
#include <c10/util/Flags.h>

#include <atomic>

C10_DECLARE_int(caffe2_log_level);

namespace kessoku::runtime {

class AllocationTracker::Counter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*place*/, int64_t size, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    const int64_t now = live_ += size;
    for (int64_t most = peak_; now > most && !peak_.compare_exchange_weak(most, now);) {
    }
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::atomic<int64_t> live_ = 0, peak_ = 0;
};

AllocationTracker::AllocationTracker()
    : counter_(std::make_shared<Counter>()),
      guard_(c10::DebugInfoKind::PROFILER_STATE, counter_),
      log_level_(FLAGS_caffe2_log_level) {
  FLAGS_caffe2_log_level = 2;  // no warnings of other threads' tensors
}

AllocationTracker::~AllocationTracker() { FLAGS_caffe2_log_level = log_level_; }

int64_t AllocationTracker::live() const { return counter_->live_; }
int64_t AllocationTracker::peak() const { return counter_->peak_; }
void AllocationTracker::restart_peak() { counter_->peak_ = counter_->live_.load(); }

}  // namespace kessoku::runtime
