#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <chrono>
#include <deque>
#include <limits>
#include <optional>
#include <span>

namespace kessoku::runtime {

/// Times laps of work on a device: on a CPU as the host gets on, on a GPU as its current stream
/// does, which the host need not wait for.
class DeviceClock {
 public:
  explicit DeviceClock(at::Device device) : device_(device) {}

  /// The first lap begins; what came since the last one is not counted.
  void begin() { mark(kNone); }
  /// What was asked for since the last lap is counted under `number`.
  void lap(size_t number) { mark(number); }
  /// Adds seconds to seconds[number], of the laps that have ended and were not taken before. Those
  /// that a GPU is still busy with are left for a later call.
  void take(std::span<double> seconds);

 private:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();
  using Clock = std::chrono::steady_clock;
  struct Mark {
    size_t number;  ///< of the lap that ends there
    Clock::time_point time;
    std::optional<c10::Event> event;  ///< on a GPU
  };

  void mark(size_t number);
  static double seconds_between(const Mark& from, const Mark& to);

  at::Device device_;
  std::deque<Mark> marks_;
};

}  // namespace kessoku::runtime
