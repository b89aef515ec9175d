#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// Where the ranks of a run leave their last operations when they give up.
std::filesystem::path watchdog_reports(const std::filesystem::path& run);
bool has_watchdog_reports(const std::filesystem::path& run);
/// Moves them to watchdog/previous, in place of those that are there.
void set_aside_watchdog_reports(const std::filesystem::path& run);

/// Ends the process with exit code 76 when an exchange between ranks takes longer than `timeout`
/// seconds: some rank hangs, is stopped or cannot be reached, and would be waited for for ever.
/// Before that each rank writes its last operations to watchdog/rank-NNNNN.json of the run folder,
/// and says who is behind. Time in which this process itself was stopped does not count.
class Watchdog {
 public:
  /// `timeout` 0 = off. The communicator must outlive it.
  Watchdog(const Communicator& communicator, const std::filesystem::path& run, double timeout);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

 private:
  void watch();
  void expire(double seconds) const;

  const Communicator& communicator_;
  std::filesystem::path folder_;
  double timeout_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace kessoku::runtime
