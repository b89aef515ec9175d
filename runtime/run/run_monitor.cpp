#include "runtime/run/run_monitor.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <sys/statvfs.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process/process.h"
#include "base/process/stderr_line.h"
#include "base/text_file.h"
#include "metrics/wall_clock.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/verification/wrong_bits.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;

/// By top-level folder, as DrawCounter counts them.
std::map<std::string, double> shares_of(const TrainingData& data) {
  std::map<std::string, double> shares;
  const auto& categories = data.store.manifest().categories;
  for (size_t i = 0; i < categories.size(); ++i) {
    const std::string& path = categories[i].path;
    shares[path.substr(0, path.find('/'))] += data.mixture.own_share[i];
  }
  std::erase_if(shares, [](const auto& folder) { return folder.second == 0; });
  return shares;
}

void raise_to(prometheus::Counter& counter, double value) {
  counter.Increment(std::max(0.0, value - counter.Value()));
}

/// Of the steps up to `last`, as far as averages reach back.
std::vector<double> losses_before(const fs::path& run, uint64_t last) {
  constexpr uint64_t kSteps = 2000;
  if (!fs::exists(run / "log.jsonl")) return {};
  std::vector<double> losses;
  const auto recent = [&](const metrics::StepRecord& record) {
    return record.step + kSteps > last;
  };
  for (const metrics::StepRecord& record :
       metrics::read_newest_records(run / "log.jsonl", recent)) {
    if (record.step <= last) losses.push_back(record.loss);
  }
  return losses;
}

/// Bytes of a GPU; 0 where nothing has used it yet.
struct DeviceMemory {
  int64_t allocated = 0, reserved = 0;
};

DeviceMemory memory_of(at::Device device) {
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  if (allocator == nullptr || !allocator->initialized()) return {};
  const c10::CachingDeviceAllocator::DeviceStats stats = allocator->getDeviceStats(device.index());
  return {stats.allocated_bytes[0].current, stats.reserved_bytes[0].current};
}

metrics::RunPlan plan_of(const fs::path& run, const RunConfig& config, const TrainingData& data,
                         uint64_t first_step, int ranks) {
  metrics::RunPlan plan{.first_step = first_step,
                        .total_steps = config.train.steps,
                        .shares = shares_of(data),
                        .checkpoint_steps = config.checkpoint.every_steps,
                        .checkpoint_seconds = 60 * config.checkpoint.every_minutes,
                        .losses = losses_before(run, first_step),
                        .peak_flops = 1e12 * config.metrics.peak_tflops * ranks,
                        .checkpoint_time = newest_checkpoint(run).time};
  if (config.trains("text_encoder") && config.optimizer.lr > 0) {
    const double own = config.optimizer.text_encoder_lr;
    plan.text_encoder_lr = own < 0 ? 1 : own / config.optimizer.lr;
  }
  return plan;
}

/// Takes over what `run` has of the steps up to `ledger.step`, or says why not.
std::string resume_ledger(const fs::path& run, metrics::Ledger& ledger) {
  try {
    const std::optional<metrics::Ledger> earlier = metrics::read_ledger(run, ledger.step);
    if (!earlier || earlier->step != ledger.step)
      return fmt::format("{}: lacks step {}", (run / "ledger").string(), ledger.step);
    ledger.resume(*earlier);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void remove_unneeded_ledgers(const fs::path& run) {
  std::vector<uint64_t> steps;
  for (const fs::path& checkpoint : list_checkpoints(run))
    steps.push_back(checkpoint_step(checkpoint));
  metrics::remove_old_ledgers(run, steps);
}

}  // namespace

metrics::ServerOptions server_options(const RunConfig& config, int64_t port) {
  return {config.metrics.address, static_cast<int>(port), config.metrics.login_file};
}

std::string scrape_address(const RunConfig& config, int port) {
  // A wildcard address is no target: others reach this host by its name.
  std::string host = config.metrics.address;
  if (host == "0.0.0.0" || host == "::") host = host_name();
  return fmt::format("{}:{}", host, port);
}

nlohmann::json scrape_target(const RunConfig& config, const std::string& address,
                             const std::string& rank) {
  // Without `instance`, which is the address otherwise, a restart on another port would begin other
  // series.
  return {
      {"targets", {address}},
      {"labels", {{"run", config.name}, {"rank", rank}, {"instance", config.name + "/" + rank}}}};
}

fs::path launch_targets(fs::path ranks) {
  return ranks.replace_filename(ranks.stem().string() + "-launch.json");
}

metrics::NewestCheckpoint newest_checkpoint(const fs::path& run) {
  const std::vector<fs::path> checkpoints = list_checkpoints(run);
  if (checkpoints.empty()) return {};
  std::error_code gone;
  const auto written = fs::last_write_time(checkpoints.front() / "state/run.json", gone);
  if (gone) return {};
  return {checkpoint_step(checkpoints.front()),
          std::chrono::duration<double>(std::chrono::file_clock::to_sys(written).time_since_epoch())
              .count()};
}

RunMonitor::RunMonitor(const fs::path& run, const RunConfig& config, at::Device device,
                       Communicator& communicator, double began)
    : run_(run),
      began_(began),
      collectives_(communicator.log()),
      device_(device),
      ranks_(communicator.size()),
      host_of_rank_(communicator.all_gather_text(host_name())),
      first_(communicator.rank() == 0) {
  hosts_ = static_cast<int>(std::set(host_of_rank_.begin(), host_of_rank_.end()).size());
  if (config.metrics.port < 0) return;
  const int64_t port =
      config.metrics.port == 0 ? 0 : config.metrics.port + communicator.local_rank();
  exporter_ = std::make_unique<metrics::RankExporter>(
      server_options(config, port), metrics::RankLabels{.run = config.name,
                                                        .rank = communicator.rank(),
                                                        .ranks = ranks_,
                                                        .hosts = hosts_,
                                                        .host = host_name(),
                                                        .device = device.str(),
                                                        .torch = TORCH_VERSION});
  watch_machine();
  if (first_) {
    exporter_->registry()
        .gauge("kessoku_run_verification_differences",
               "Verifications that found wrong bits, since the run began")
        .Set(static_cast<double>(recorded_differences(run).size()));
  }
  if (first_) targets_file_ = run / config.metrics.file_sd;
  write_targets(config, communicator);
}

RunMonitor::~RunMonitor() {
  // Prometheus forgets the targets of a run that is over.
  std::error_code ignored;
  if (!targets_file_.empty()) fs::remove(targets_file_, ignored);
}

void RunMonitor::write_targets(const RunConfig& config, Communicator& communicator) {
  const std::vector<std::string> addresses =
      communicator.all_gather_text(scrape_address(config, exporter_->port()));
  if (targets_file_.empty()) return;
  nlohmann::json targets = nlohmann::json::array();
  for (int rank = 0; rank < communicator.size(); ++rank) {
    targets.push_back(
        scrape_target(config, addresses[static_cast<size_t>(rank)], std::to_string(rank)));
  }
  fs::create_directories(targets_file_.parent_path());
  write_file_atomically(targets_file_, targets.dump(1) + "\n");
}

void RunMonitor::watch_machine() {
  metrics::SeriesRegistry& series = exporter_->registry();
  if (first_) {
    series.before_scrape(
        [run = run_,
         &free = series.gauge("kessoku_disk_free_bytes", "Free space where the run folder is"),
         &size = series.gauge("kessoku_disk_size_bytes", "Size of the disk of the run folder")] {
          struct statvfs disk {};
          if (::statvfs(run.c_str(), &disk) != 0) return;
          free.Set(static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize));
          size.Set(static_cast<double>(disk.f_blocks) * static_cast<double>(disk.f_frsize));
        });
  }
  series.before_scrape(
      [log = collectives_, &series,
       &busy = series.counter("kessoku_communication_busy_seconds_total",
                              "Time in which an exchange between ranks was under way, hidden or "
                              "not")] {
        const CollectiveLog::Totals totals = log->totals();
        raise_to(busy, totals.busy_seconds);
        for (const auto& [operation, traffic] : totals.traffic) {
          const auto count = [&](const char* direction, int64_t bytes) {
            raise_to(series.counter("kessoku_communication_bytes_total",
                                    "Bytes that the rank has sent to others and received from them",
                                    {{"operation", operation}, {"direction", direction}}),
                     static_cast<double>(bytes));
          };
          count("sent", traffic.sent);
          count("received", traffic.received);
        }
      });
  if (device_.is_cpu()) return;
  const auto memory = [&](const char* kind) -> prometheus::Gauge& {
    return series.gauge("kessoku_memory_bytes", "Memory of the rank's process", {{"kind", kind}});
  };
  series.before_scrape(
      [device = device_, &allocated = memory("gpu_allocated"), &reserved = memory("gpu_reserved")] {
        const DeviceMemory now = memory_of(device);
        allocated.Set(static_cast<double>(now.allocated));
        reserved.Set(static_cast<double>(now.reserved));
      });
}

void RunMonitor::begin(const RunConfig& config, const TrainingData& data, uint64_t first_step,
                       const std::optional<fs::path>& checkpoint,
                       std::vector<std::pair<std::string, double>> startup) {
  progress_.emplace("train", "steps", config.train.steps, first_step, !first_);
  if (exporter_)
    exporter_->begin(first_ ? plan_of(run_, config, data, first_step, ranks_) : metrics::RunPlan{});
  if (!first_) return;
  const metrics::AccountEntry before = metrics::read_account(run_);
  account_ = before.account;
  account_.start(began_, before.complete);
  account_at_start_ = account_;
  log_ = std::make_unique<metrics::RunLog>(run_ / "log.jsonl", first_step);
  if (config.metrics.tensorboard) {
    tensorboard_ = std::make_unique<metrics::TensorboardLog>(
        run_ / "tensorboard", metrics::seconds_since_1970(), first_step);
  }
  if (config.metrics.ledger) begin_ledger(data, first_step, checkpoint);
  metrics::append_to_account_book(run_, {.time = began_,
                                         .account = account_,
                                         .ranks = ranks_,
                                         .hosts = hosts_,
                                         .startup = std::move(startup)});
  if (exporter_) exporter_->observe(account_);
}

void RunMonitor::begin_ledger(const TrainingData& data, uint64_t first_step,
                              const std::optional<fs::path>& checkpoint) {
  metrics::Ledger ledger{.first_step = first_step, .step = first_step};
  const auto& categories = data.store.manifest().categories;
  for (size_t i = 0; i < data.store.size(); ++i) {
    ledger.images.push_back(
        {to_utf8(data.store.source(i)), to_utf8(categories[data.store.rows()[i].category].path)});
  }
  if (checkpoint) {
    // RUN/checkpoints/step-NNNNNNNN of another run, or a copy in memory of this one.
    const fs::path other = fs::weakly_canonical(*checkpoint).parent_path().parent_path();
    const std::string why = resume_ledger(fs::exists(other / "ledger") ? other : run_, ledger);
    if (!why.empty()) log_warning("{}: the ledger begins with step {}", why, first_step + 1);
  }
  ledger_ = std::make_unique<metrics::LedgerFile>(run_, std::move(ledger));
}

void RunMonitor::keep_ledger() {
  if (ledger_) ledger_->begin();
}

void RunMonitor::watch(const data::Loader& loader) {
  if (!exporter_) return;
  metrics::SeriesRegistry& series = exporter_->registry();
  series.gauge("kessoku_loader_capacity_batches", "Micro-batches that the loader reads ahead")
      .Set(static_cast<double>(loader.counts()->capacity));
  series.before_scrape(
      [counts = loader.counts(),
       &ready =
           series.gauge("kessoku_loader_ready_batches", "Micro-batches that wait for the trainer"),
       &captions = series.counter("kessoku_captions_total", "Captions that the rank has read"),
       &empty = series.counter("kessoku_captions_empty_total",
                               "Captions that were empty, by dropout or in the dataset"),
       &truncated = series.counter("kessoku_captions_truncated_total",
                                   "Captions that were longer than data.max_token_length")] {
        ready.Set(static_cast<double>(counts->ready));
        raise_to(captions, static_cast<double>(counts->captions));
        raise_to(empty, static_cast<double>(counts->empty));
        raise_to(truncated, static_cast<double>(counts->truncated));
      });
}

void RunMonitor::add_seconds(metrics::Phase phase, double seconds) {
  between_[static_cast<size_t>(phase)] += seconds;
}

void RunMonitor::note(const metrics::RunChange& change) {
  if (!log_) return;
  changes_.push_back(change);
  const std::string what = metrics::concerned(change);
  write_line(fmt::format("changed      {} was {}, is {}{}{}", change.key, change.before,
                         change.after, what.empty() ? "" : ": ", what));
}

void RunMonitor::record(metrics::StepRecord record) {
  for (size_t i = 0; i < metrics::kPhases; ++i) record.phase_seconds[i] += between_[i];
  between_ = {};
  record.changes = std::exchange(changes_, {});
  record.time = metrics::seconds_since_1970();
  if (first_) account_.add(record);
  if (exporter_) {
    exporter_->observe(record);
    exporter_->observe(account_);
  }
  if (log_) log_->append(record);
  if (tensorboard_) tensorboard_->append(record);
  if (ledger_) ledger_->append(record);
  if (first_) show_progress(record);
}

void RunMonitor::show_progress(const metrics::StepRecord& record) {
  ++records_;
  if (std::isfinite(record.loss)) loss_.add(record.loss);
  samples_per_second_.add(record.samples_per_second);
  data_seconds_.add(record.phase_seconds[static_cast<size_t>(metrics::Phase::kData)]);
  step_seconds_.add(record.seconds);
  pace_.add(record.rank_seconds);
  const double wait = data_seconds_.value() / step_seconds_.value();
  const double productive = metrics::goodput(account_);
  const uint64_t memory = device_.is_cpu() ? process_memory().resident
                                           : static_cast<uint64_t>(memory_of(device_).allocated);
  std::vector<metrics::ProgressFigure> figures = {
      {"step", static_cast<double>(record.step), ""},
      {"loss", loss_.value(), fmt::format("loss {:.4f}", loss_.value())},
      {"lr", record.lr, ""},
      {"grad_norm", record.grad_norm, ""},
      {"data_wait", wait, fmt::format("data wait {:.0f} %", 100 * wait)},
      {"memory_bytes", static_cast<double>(memory), metrics::format_bytes(memory)},
      {"goodput", productive,
       productive < 0.995 ? fmt::format("goodput {:.0f} %", 100 * productive) : ""},
      {"samples_per_second", samples_per_second_.value(),
       fmt::format("{:.0f} samples/s", samples_per_second_.value())}};
  progress_->update(record.step, std::move(figures));
}

std::optional<metrics::SlowRank> RunMonitor::slowest_rank() const {
  std::optional<metrics::SlowRank> slowest;
  for (size_t rank = 0; rank < host_of_rank_.size(); ++rank) {
    const double slowness = pace_.against_others(rank);
    if (!slowest || slowness > slowest->slowness) slowest = {rank, host_of_rank_[rank], slowness};
  }
  return slowest;
}

void RunMonitor::record(const metrics::CheckpointRecord& record) {
  if (exporter_) exporter_->observe(record);
  if (ledger_) remove_unneeded_ledgers(run_);
}

void RunMonitor::begin_end() {
  if (exporter_) exporter_->begin_end();
}

void RunMonitor::end(bool complete) {
  if (!first_) return;
  account_.end(metrics::seconds_since_1970(), metrics::Cause::kCheckpoint);
  progress_.reset();
  write_line(metrics::summarize(account_at_start_, account_, records_, slowest_rank()));
  if (exporter_) exporter_->observe(account_);
  metrics::append_to_account_book(run_, {.time = metrics::seconds_since_1970(),
                                         .account = account_,
                                         .ranks = ranks_,
                                         .hosts = hosts_,
                                         .ended = true,
                                         .complete = complete});
}

}  // namespace kessoku::runtime
