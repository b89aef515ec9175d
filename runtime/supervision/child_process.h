#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace kessoku::runtime {

/// A program that was started, in a process group of its own (a terminal's Ctrl-C does not reach
/// it) and without input. If this process dies it gets SIGUSR1.
class ChildProcess {
 public:
  /// `command[0]` is looked for in PATH. Throws UsageError if it cannot be started.
  explicit ChildProcess(const std::vector<std::string>& command);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  /// Kills it if it runs.
  ~ChildProcess();

  /// What it ended with, 128 + the signal's number if one killed it; nothing while it runs.
  std::optional<int> poll();
  /// Whether a signal ended it, not only something that it had started.
  bool killed() const { return killed_; }
  void signal(int number) const;

 private:
  pid_t pid_;
  std::optional<int> result_;
  bool killed_ = false;
};

/// Lets this process inherit what its children leave behind, so that it can be found and killed.
void adopt_orphans();

/// Gives all processes that have this one for a parent `seconds` to end, then kills them. Returns
/// how many it killed.
int end_orphans(double seconds);

}  // namespace kessoku::runtime
