#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace kessoku::runtime {

/// The last collectives of a rank, for the watchdog: what was asked for, begun and done, and when.
/// Ranks number their operations alike, so the logs of several ranks tell who is behind. Safe for
/// concurrent use.
class CollectiveLog {
 public:
  using Clock = std::chrono::steady_clock;

  struct Operation {
    uint64_t number;   ///< 1 for the first of the run
    std::string name;  ///< "reduce-scatter", …
    int64_t bytes;     ///< of this rank's tensor
    Clock::time_point asked;
    std::optional<Clock::time_point> begun, done;
  };

  /// Bytes that a rank sends to others and gets from them.
  struct Traffic {
    int64_t sent = 0, received = 0;
  };

  struct Totals {
    std::map<std::string, Traffic> traffic;  ///< by the operation's name
    double busy_seconds = 0;                 ///< in which an operation was under way
  };

  /// Keeps the newest `capacity`.
  explicit CollectiveLog(size_t capacity = 1000) : capacity_(capacity) {}

  /// Returns the operation's number.
  uint64_t ask(std::string name, int64_t bytes);
  void begin(uint64_t number);
  void finish(uint64_t number);
  /// What an operation of that name has moved.
  void count(const std::string& name, Traffic traffic);

  /// Since when the oldest operation that is not done has been under way, if there is one.
  std::optional<Clock::time_point> waiting_since() const;
  /// The number of the newest operation before which all are done.
  uint64_t last_done() const;
  std::vector<Operation> newest() const;
  Totals totals() const;

 private:
  Operation* find(uint64_t number);

  mutable std::mutex mutex_;
  size_t capacity_;
  uint64_t asked_ = 0;
  std::deque<Operation> operations_;
  Totals totals_;
};

}  // namespace kessoku::runtime
