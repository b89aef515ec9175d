#include "runtime/run/run_monitor.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "runtime/host/process_resources.h"
#include "runtime/verification/wrong_bits.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;

std::string own_address(const RunConfig& config, int port) {
  // A wildcard address is no target: others reach this host by its name.
  std::string host = config.metrics.address;
  if (host == "0.0.0.0" || host == "::") host = host_name();
  return fmt::format("{}:{}", host, port);
}

}  // namespace

RunMonitor::RunMonitor(const fs::path& run, const RunConfig& config, uint64_t first_step,
                       Communicator& communicator)
    : progress_("train", "steps", config.train.steps, first_step, communicator.rank() != 0) {
  if (communicator.rank() == 0)
    log_ = std::make_unique<metrics::RunLog>(run / "log.jsonl", first_step);
  if (config.metrics.port < 0) return;
  const int port = config.metrics.port == 0
                       ? 0
                       : static_cast<int>(config.metrics.port) + communicator.local_rank();
  exporter_ = std::make_unique<metrics::Exporter>(config.metrics.address, port, config.name,
                                                  communicator.rank(), communicator.size(),
                                                  config.train.steps);
  if (communicator.rank() == 0) {
    exporter_->set_differences(recorded_differences(run).size());
    targets_file_ = run / config.metrics.file_sd;
  }
  write_targets(config, communicator);
}

RunMonitor::~RunMonitor() {
  // Prometheus forgets the targets of a run that is over.
  std::error_code ignored;
  if (!targets_file_.empty()) fs::remove(targets_file_, ignored);
}

void RunMonitor::write_targets(const RunConfig& config, Communicator& communicator) {
  const std::vector<std::string> addresses =
      communicator.all_gather_text(own_address(config, exporter_->port()));
  if (targets_file_.empty()) return;
  nlohmann::json targets = nlohmann::json::array();
  for (int rank = 0; rank < communicator.size(); ++rank) {
    targets.push_back({{"targets", {addresses[static_cast<size_t>(rank)]}},
                       {"labels", {{"run", config.name}, {"rank", std::to_string(rank)}}}});
  }
  fs::create_directories(targets_file_.parent_path());
  write_file_atomically(targets_file_, targets.dump(1) + "\n");
}

void RunMonitor::add_seconds(metrics::Phase phase, double seconds) {
  between_[static_cast<size_t>(phase)] += seconds;
}

void RunMonitor::note(const metrics::RunChange& change) {
  if (!log_) return;
  changes_.push_back(change);
  const std::string what = metrics::concerned(change);
  fmt::print(stderr, "changed      {} was {}, is {}{}{}\n", change.key, change.before, change.after,
             what.empty() ? "" : ": ", what);
}

void RunMonitor::record(metrics::StepRecord record) {
  for (size_t i = 0; i < metrics::kPhases; ++i) record.phase_seconds[i] += between_[i];
  between_ = {};
  record.changes = std::exchange(changes_, {});
  if (exporter_) exporter_->observe(record);
  if (log_) log_->append(record);
  const double keep = records_++ == 0 ? 0 : 0.95;
  smooth_loss_ = keep * smooth_loss_ + (1 - keep) * record.loss;
  smooth_rate_ = keep * smooth_rate_ + (1 - keep) * record.samples_per_second;
  progress_.update(record.step,
                   fmt::format("loss {:.4f}, {:.0f} samples/s", smooth_loss_, smooth_rate_));
}

}  // namespace kessoku::runtime
