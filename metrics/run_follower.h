#pragma once

#include <deque>
#include <filesystem>
#include <optional>

#include "metrics/account_book.h"
#include "metrics/step_record.h"

namespace kessoku::metrics {

/// Follows a run by what it writes into its folder, from any process on any host that sees it. Not
/// for concurrent use.
class RunFollower {
 public:
  explicit RunFollower(std::filesystem::path run) : run_(std::move(run)) {}

  /// Reads what was written since the last call.
  void poll();
  /// Up to the last step's end.
  const RunAccount& account() const { return entry_.account; }
  /// The newest one, whose account is `account`.
  const AccountEntry& entry() const { return entry_; }
  const std::optional<StepRecord>& last() const { return last_; }
  /// At most the last 100, the newest at the end.
  const std::deque<StepRecord>& recent() const { return recent_; }

 private:
  void read_entry();
  void read_log();

  std::filesystem::path run_;
  AccountEntry entry_;
  std::optional<StepRecord> last_;
  std::deque<StepRecord> recent_;
  uint64_t book_size_ = 0, log_offset_ = 0;
};

}  // namespace kessoku::metrics
