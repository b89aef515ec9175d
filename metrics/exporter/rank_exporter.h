#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "metrics/checkpoint_record.h"
#include "metrics/exporter/metrics_server.h"
#include "metrics/exporter/series_registry.h"
#include "metrics/run_account.h"
#include "metrics/step_record.h"

namespace kessoku::metrics {

/// Who a rank is.
struct RankLabels {
  std::string run;
  int rank = 0, ranks = 1, hosts = 1;
  std::string host, device, torch;
};

/// What a run is to do.
struct RunPlan {
  uint64_t first_step = 0, total_steps = 0;
  std::map<std::string, double> shares;  ///< of draws, asked for by top-level folder
  double text_encoder_lr = 0;            ///< as a multiple of the learning rate; 0: not trained
  uint64_t checkpoint_steps = 0;         ///< between checkpoints; 0: not by steps
  double checkpoint_seconds = 0;         ///< likewise; 0: not by the clock
  std::vector<double> losses;            ///< of the last steps before, of other processes
  double peak_flops = 0;                 ///< a second, of all ranks; 0: not known
  double checkpoint_time = 0;            ///< of the newest one, since 1970; 0: there is none
};

/// The series of one rank, which it serves while it lives. Names begin with kessoku_, all carry the
/// labels `run` and `rank`; counters begin at 0 with the process. What belongs to the whole run
/// (loss, draws, …) is served by rank 0 alone, so that sums over ranks are right. All but
/// `registry` is for the training thread; scrapes are answered by threads of their own.
class RankExporter {
 public:
  /// Throws UsageError as MetricsServer.
  RankExporter(const ServerOptions& server, const RankLabels& labels);
  ~RankExporter();
  int port() const;
  SeriesRegistry& registry();

  /// The first step is about to be taken.
  void begin(const RunPlan& plan);
  void observe(const StepRecord& record);
  void observe(const CheckpointRecord& record);
  void observe(const RunAccount& account);
  /// Training is over; the last checkpoint is being written.
  void begin_end();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::metrics
