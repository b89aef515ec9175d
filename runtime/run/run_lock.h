#pragma once

#include <filesystem>

namespace kessoku::runtime {

/// Keeps a second training out of a run's folder as long as it lives, whatever ends the process:
/// the system lets go of it then. The file "lock" in the folder names its holder.
class RunLock {
 public:
  /// Waits a while for who holds it: it may be about to stop, or on a host that has just been lost,
  /// of which the file server does not know yet. Then throws UsageError naming it. File systems
  /// without locks are not guarded, with a warning.
  explicit RunLock(const std::filesystem::path& run);
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  ~RunLock();

 private:
  int descriptor_;
};

}  // namespace kessoku::runtime
