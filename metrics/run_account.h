#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "metrics/step_record.h"

namespace kessoku::metrics {

/// What a run's wall time is spent on.
enum class Cause {
  kProductive,            ///< forward, backward, optimizer
  kStartup,               ///< from a process's start to its first step
  kData,                  ///< waiting for batches
  kExposedCommunication,  ///< waiting for exchanges that nothing hides
  kCheckpoint,            ///< waiting for copies and files
  kSample,
  kValidation,
  kVerification,  ///< comparing bits between ranks, computing again
  kRedone,        ///< steps that had been taken before a restart, and what went on between them
  kOther,         ///< between steps: the log, for example
  kDown           ///< no process, or one that never took another step
};
inline constexpr size_t kCauses = 11;
/// "productive", "startup", …: labels, and names in account.jsonl.
const char* to_string(Cause cause);

/// Where the wall time of a run went since its first start, restarts included: the seconds of all
/// causes add up to `until` − `began`. Rank 0's view. Times are seconds since 1970.
struct RunAccount {
  double began = 0;  ///< 0: not started yet
  double until = 0;  ///< up to here the time is accounted for
  uint64_t starts = 0;
  uint64_t furthest = 0;  ///< the highest step ever taken
  uint64_t redone_steps = 0;
  bool in_first_step = false;  ///< since the last start no step has been taken
  std::array<double, kCauses> seconds{};

  /// A process started: what passed since is down time, unless the run was `complete`, whose rest
  /// does not count.
  void start(double time, bool complete);
  /// A step's end, with what was done since the last one.
  void add(const StepRecord& record);
  /// The process ends, and what passed since the last step was spent on `cause`.
  void end(double time, Cause cause);
  /// The same account with the time up to `time` given to `cause`.
  RunAccount up_to(double time, Cause cause) const;

 private:
  void spend(Cause cause, double amount) { seconds[static_cast<size_t>(cause)] += amount; }
};

nlohmann::ordered_json to_json(const RunAccount& account);
/// The way back. Throws DataError saying what is wrong.
RunAccount run_account_from_json(const nlohmann::ordered_json& object);

}  // namespace kessoku::metrics
