#pragma once

#include <filesystem>
#include <string>

#include "metrics/step_record.h"

namespace kessoku::metrics {

/// The numbers of a run's steps as an event file in `folder`, a file for each process, for
/// TensorBoard. Not for concurrent use.
class TensorboardLog {
 public:
  /// A run goes on after `last_step`: later steps in older files do not count any more. Throws
  /// Error if the file cannot be created.
  TensorboardLog(const std::filesystem::path& folder, double time, uint64_t last_step);
  TensorboardLog(const TensorboardLog&) = delete;
  TensorboardLog& operator=(const TensorboardLog&) = delete;
  ~TensorboardLog();
  /// What cannot be written (a full disk) is kept, with one warning, and written as soon as it can.
  void append(const StepRecord& record);

 private:
  void write_pending();

  std::filesystem::path path_;
  int file_ = -1;
  std::string pending_;
  bool warned_ = false;
};

}  // namespace kessoku::metrics
