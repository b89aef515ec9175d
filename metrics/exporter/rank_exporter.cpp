#include "metrics/exporter/rank_exporter.h"

#include <chrono>
#include <cmath>

#include "base/process/process.h"
#include "base/version.h"
#include "metrics/exporter/account_series.h"
#include "metrics/exporter/run_series.h"
#include "metrics/rank_pace.h"

namespace kessoku::metrics {

struct RankExporter::Impl {
  explicit Impl(const RankLabels& rank_labels) : labels(rank_labels) {
    for (size_t i = 0; i < kPhases; ++i) {
      phase_seconds[i] =
          &registry->counter("kessoku_phase_seconds_total", "Time spent, by phase of a step",
                             {{"phase", to_string(static_cast<Phase>(i))}});
    }
    for (const char* name : {"starting", "training", "ending"})
      states[name] =
          &registry->gauge("kessoku_state", "1 for what the rank does, else 0", {{"state", name}});
    enter("starting");
    last_step.SetToCurrentTime();
    registry->before_scrape([&resident = memory("resident"), &peak = memory("peak")] {
      const ProcessMemory memory = process_memory();
      resident.Set(static_cast<double>(memory.resident));
      peak.Set(static_cast<double>(memory.peak));
    });
  }

  prometheus::Gauge& memory(const char* kind) {
    return registry->gauge("kessoku_memory_bytes", "Memory of the rank's process",
                           {{"kind", kind}});
  }
  void enter(const std::string& state) {
    for (const auto& [name, gauge] : states) gauge->Set(name == state);
  }

  RankLabels labels;
  std::shared_ptr<SeriesRegistry> registry = std::make_shared<SeriesRegistry>(
      prometheus::Labels{{"run", labels.run}, {"rank", std::to_string(labels.rank)}});
  prometheus::Counter& steps =
      registry->counter("kessoku_steps_total", "Optimizer steps since the process began");
  prometheus::Gauge& last_step =
      registry->gauge("kessoku_last_step_timestamp_seconds",
                      "When the last step ended (at first: when the rank began), since 1970");
  prometheus::Gauge& against_others =
      registry->gauge("kessoku_rank_slowness",
                      "Duration of the rank's own work of a step (last 20), relative to the median "
                      "of all ranks (against=\"others\") or to its last 1,000 (against=\"past\")",
                      {{"against", "others"}});
  prometheus::Gauge& against_past =
      registry->gauge("kessoku_rank_slowness", "", {{"against", "past"}});
  std::array<prometheus::Counter*, kPhases> phase_seconds{};
  std::map<std::string, prometheus::Gauge*> states;
  RankPace pace;
  std::unique_ptr<RunSeries> run;
  std::unique_ptr<AccountSeries> account;
  std::unique_ptr<MetricsServer> server;  // last: it answers while the others live
};

RankExporter::RankExporter(const ServerOptions& server, const RankLabels& labels)
    : impl_(std::make_unique<Impl>(labels)) {
  SeriesRegistry& series = *impl_->registry;
  series
      .gauge("kessoku_build_info", "The program and where it runs; always 1",
             {{"version", version()},
              {"torch", labels.torch},
              {"device", labels.device},
              {"host", labels.host}})
      .Set(1);
  if (labels.rank == 0) {
    series.gauge("kessoku_world_size", "Ranks of the run").Set(labels.ranks);
    series.gauge("kessoku_hosts", "Hosts that the ranks run on").Set(labels.hosts);
    impl_->account = std::make_unique<AccountSeries>(series);
  }
  impl_->server = std::make_unique<MetricsServer>(server, impl_->registry);
}

RankExporter::~RankExporter() = default;

int RankExporter::port() const { return impl_->server->port(); }

SeriesRegistry& RankExporter::registry() { return *impl_->registry; }

void RankExporter::begin(const RunPlan& plan) {
  impl_->enter("training");
  impl_->last_step.SetToCurrentTime();
  if (impl_->labels.rank == 0) impl_->run = std::make_unique<RunSeries>(*impl_->registry, plan);
}

void RankExporter::begin_end() { impl_->enter("ending"); }

void RankExporter::observe(const StepRecord& record) {
  Impl& out = *impl_;
  out.steps.Increment();
  for (size_t i = 0; i < kPhases; ++i) {
    if (record.phase_seconds[i] > 0) out.phase_seconds[i]->Increment(record.phase_seconds[i]);
  }
  out.pace.add(record.rank_seconds);
  const auto rank = static_cast<size_t>(out.labels.rank);
  out.against_others.Set(out.pace.against_others(rank));
  out.against_past.Set(out.pace.against_past(rank));
  if (out.run) out.run->observe(record);
  out.last_step.SetToCurrentTime();
}

void RankExporter::observe(const CheckpointRecord& record) {
  if (impl_->run) impl_->run->observe(record);
}

void RankExporter::observe(const RunAccount& account) {
  if (impl_->account) impl_->account->set(account);
}

}  // namespace kessoku::metrics
