#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "metrics/step_record.h"

namespace kessoku::metrics {

/// log.jsonl of a run folder: one JSON record a step, flushed each step. Not for concurrent use.
class RunLog {
 public:
  /// Opens for appending; drops records after `last_step` (and a torn last line), so that a resumed
  /// run has neither gaps nor doubles. Reads no more than these and the one before; throws
  /// DataError naming the line if one of them is damaged, Error if it cannot be written.
  RunLog(const std::filesystem::path& path, uint64_t last_step);
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  ~RunLog();
  /// What cannot be written (a full disk) is kept, with one warning, and written as soon as it can.
  void append(const StepRecord& record);

 private:
  void write_pending();
  /// Else what is written would be lost with the file.
  void reopen_if_removed();

  std::filesystem::path path_;
  int file_ = -1;
  std::string pending_;
  bool warned_ = false;
};

/// All records of a log; throws UsageError if there is no such file, DataError naming the line if
/// one is damaged (a torn last line is left out).
std::vector<StepRecord> read_run_log(const std::filesystem::path& path);

/// The newest records, oldest first: as far back as `wanted` is true. Reads no more than these.
std::vector<StepRecord> read_newest_records(const std::filesystem::path& path,
                                            const std::function<bool(const StepRecord&)>& wanted);

/// Where the first of these begins in the file: of none, where the next one will.
uint64_t offset_of_newest_records(const std::filesystem::path& path,
                                  const std::function<bool(const StepRecord&)>& wanted);

/// Nothing if there is none yet.
std::optional<StepRecord> last_record(const std::filesystem::path& path);

}  // namespace kessoku::metrics
