#pragma once

#include <signal.h>

#include <atomic>
#include <thread>

namespace kessoku::runtime {

/// SIGINT, SIGTERM and SIGUSR1: what asks a program to stop.
sigset_t stop_signals();

/// Notices SIGINT, SIGTERM and SIGUSR1 while it lives, so that training stops at a step's end. Make
/// it before any other thread, so that all inherit its signal mask. A second SIGINT ends the
/// process at once, as an impatient user expects.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal();
  bool requested() const { return requested_.load(std::memory_order_relaxed); }

 private:
  void watch();
  std::atomic<bool> requested_{false};
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

}  // namespace kessoku::runtime
