#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace kessoku::runtime {

/// How far a run has come.
struct RunProgress {
  uint64_t step = 0;        ///< the last in its log
  uint64_t checkpoint = 0;  ///< the newest complete one's
};

/// From the run's folder; zeros if there is nothing yet.
RunProgress progress_of(const std::filesystem::path& run);

/// Whether what ended with `exit_code` may well go on when it is started again: not where the run
/// file, the data or the program is wrong, or the disk is full.
bool is_worth_restarting(int exit_code);

/// When to restart a run, and when to give up.
class RestartPolicy {
 public:
  /// `patience`: restarts in a row that may end without having got further than any before.
  RestartPolicy(int patience, double wait, double longest_wait, RunProgress start)
      : patience_(patience), wait_(wait), longest_wait_(longest_wait), furthest_(start) {}

  /// Seconds before the next start: `wait`, and while nothing is gained twice as long as before (1
  /// after 0); none: give up. The first failure is always followed by a restart.
  std::optional<double> after_failure(RunProgress now);
  /// Restarts in a row, the last one included, that made no progress.
  int in_vain() const { return in_vain_; }

 private:
  int patience_;
  double wait_, longest_wait_;
  RunProgress furthest_;
  bool restarted_ = false;
  int in_vain_ = 0;  ///< restarts since something was gained
};

}  // namespace kessoku::runtime
