#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "data/loading/loader.h"
#include "metrics/account_book.h"
#include "metrics/exporter/launch_exporter.h"
#include "metrics/exporter/rank_exporter.h"
#include "metrics/ledger/ledger_file.h"
#include "metrics/moving_average.h"
#include "metrics/progress.h"
#include "metrics/rank_pace.h"
#include "metrics/run_log.h"
#include "metrics/tensorboard/tensorboard_log.h"
#include "metrics/terminal/account_summary.h"
#include "runtime/communication/communicator.h"
#include "runtime/run/training_data.h"

namespace kessoku::runtime {

/// What metrics.address and metrics.login_file say, for a port.
metrics::ServerOptions server_options(const RunConfig& config, int64_t port);

/// ADDRESS:PORT under which Prometheus reaches an exporter of this process.
std::string scrape_address(const RunConfig& config, int port);

/// An exporter at `address` as an element of a file for file_sd_configs. `rank`: "0", …, "launch".
nlohmann::json scrape_target(const RunConfig& config, const std::string& address,
                             const std::string& rank);

/// Where `launch` writes its own target: beside those of the ranks.
std::filesystem::path launch_targets(std::filesystem::path ranks);

/// Told by its folder.
metrics::NewestCheckpoint newest_checkpoint(const std::filesystem::path& run);

/// Everything that watches a run: on rank 0 the log, the account of its time and the progress line,
/// on each rank /metrics, and the file by which Prometheus finds them. Construction is collective.
class RunMonitor {
 public:
  /// Serves /metrics from now on. `began`: when the process did, seconds since 1970.
  RunMonitor(const std::filesystem::path& run, const RunConfig& config, at::Device device,
             Communicator& communicator, double began);
  RunMonitor(const RunMonitor&) = delete;
  RunMonitor& operator=(const RunMonitor&) = delete;
  ~RunMonitor();

  /// Before the first step, which follows on `first_step`, that of `checkpoint`, if there is one;
  /// `startup` as in AccountEntry.
  void begin(const RunConfig& config, const TrainingData& data, uint64_t first_step,
             const std::optional<std::filesystem::path>& checkpoint,
             std::vector<std::pair<std::string, double>> startup = {});
  /// Shows how full its queue is.
  void watch(const data::Loader& loader);
  /// Time spent between steps (checkpoints, samples): counted with the next step.
  void add_seconds(metrics::Phase phase, double seconds);
  void record(metrics::StepRecord record);
  void record(const metrics::CheckpointRecord& record);
  /// A checkpoint of the last step begins: keeps the ledger as it is now.
  void keep_ledger();
  /// Tells what was changed on stderr, and records it with the next step. Rank 0 alone does.
  void note(const metrics::RunChange& change);
  /// No more steps follow: the last checkpoint is waited for.
  void begin_end();
  /// The last checkpoint is there: tells on stderr what the time went to. `complete`: the run has
  /// all its steps.
  void end(bool complete);

 private:
  void write_targets(const RunConfig& config, Communicator& communicator);
  void watch_machine();
  void begin_ledger(const TrainingData& data, uint64_t first_step,
                    const std::optional<std::filesystem::path>& checkpoint);
  void show_progress(const metrics::StepRecord& record);
  std::optional<metrics::SlowRank> slowest_rank() const;

  std::filesystem::path run_;
  double began_;
  std::filesystem::path targets_file_;  ///< only on rank 0
  std::shared_ptr<CollectiveLog> collectives_;
  at::Device device_;
  int ranks_, hosts_ = 1;
  std::vector<std::string> host_of_rank_;
  std::unique_ptr<metrics::RankExporter> exporter_;
  std::unique_ptr<metrics::RunLog> log_;
  std::unique_ptr<metrics::TensorboardLog> tensorboard_;
  std::unique_ptr<metrics::LedgerFile> ledger_;
  metrics::RunAccount account_, account_at_start_;  ///< only on rank 0
  bool first_;
  std::optional<metrics::Progress> progress_;
  std::array<double, metrics::kPhases> between_{};
  std::vector<metrics::RunChange> changes_;
  metrics::MovingAverage loss_{20}, samples_per_second_{20}, data_seconds_{20}, step_seconds_{20};
  metrics::RankPace pace_;
  uint64_t records_ = 0;
};

}  // namespace kessoku::runtime
