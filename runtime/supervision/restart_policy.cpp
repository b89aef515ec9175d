#include "runtime/supervision/restart_policy.h"

#include <algorithm>
#include <cmath>

#include "base/exit_code.h"
#include "metrics/run_log.h"
#include "runtime/checkpoint/checkpoint_folder.h"

namespace kessoku::runtime {

RunProgress progress_of(const std::filesystem::path& run) {
  RunProgress progress;
  const std::filesystem::path log = run / "log.jsonl";
  if (std::filesystem::exists(log)) {
    if (const auto last = metrics::last_record(log)) progress.step = last->step;
  }
  const auto checkpoints = list_checkpoints(run);
  if (!checkpoints.empty()) progress.checkpoint = checkpoint_step(checkpoints.front());
  return progress;
}

bool is_worth_restarting(int exit_code) {
  switch (static_cast<ExitCode>(exit_code)) {
    case ExitCode::kDone:
    case ExitCode::kUsage:
    case ExitCode::kBadData:
    case ExitCode::kInternal:
    case ExitCode::kCannotWrite:
    case ExitCode::kStopped:
      return false;
    case ExitCode::kWatchdog:
    case ExitCode::kWrongBits:
      return true;
  }
  return true;  // killed, or mpirun's own
}

std::optional<double> RestartPolicy::after_failure(RunProgress now) {
  const bool gained = now.step > furthest_.step || now.checkpoint > furthest_.checkpoint;
  furthest_ = {std::max(now.step, furthest_.step), std::max(now.checkpoint, furthest_.checkpoint)};
  in_vain_ = gained || !restarted_ ? 0 : in_vain_ + 1;
  restarted_ = true;
  if (in_vain_ >= patience_) return std::nullopt;
  if (in_vain_ == 0) return wait_;
  const double first = wait_ > 0 ? 2 * wait_ : 1;
  return std::min(longest_wait_, first * std::pow(2, in_vain_ - 1));
}

}  // namespace kessoku::runtime
