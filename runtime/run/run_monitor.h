#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "metrics/exporter.h"
#include "metrics/progress.h"
#include "metrics/run_log.h"
#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Everything that watches a run: on rank 0 the log and the progress line, on each rank /metrics,
/// and the file by which Prometheus finds them. Construction is collective.
class RunMonitor {
 public:
  RunMonitor(const std::filesystem::path& run, const RunConfig& config, uint64_t first_step,
             Communicator& communicator);
  RunMonitor(const RunMonitor&) = delete;
  RunMonitor& operator=(const RunMonitor&) = delete;
  ~RunMonitor();

  /// Time spent between steps (checkpoints, samples): counted with the next step.
  void add_seconds(metrics::Phase phase, double seconds);
  void record(metrics::StepRecord record);
  /// Tells what was changed on stderr, and records it with the next step. Rank 0 alone does.
  void note(const metrics::RunChange& change);

 private:
  void write_targets(const RunConfig& config, Communicator& communicator);

  std::filesystem::path targets_file_;  ///< only on rank 0
  std::unique_ptr<metrics::Exporter> exporter_;
  std::unique_ptr<metrics::RunLog> log_;
  metrics::Progress progress_;
  std::array<double, metrics::kPhases> between_{};
  std::vector<metrics::RunChange> changes_;
  double smooth_loss_ = 0, smooth_rate_ = 0;
  uint64_t records_ = 0;
};

}  // namespace kessoku::runtime
