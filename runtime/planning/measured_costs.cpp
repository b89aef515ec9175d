#include "runtime/planning/measured_costs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "metrics/run_log.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

using metrics::Phase;

double median_of(const std::vector<metrics::StepRecord>& steps, Phase phase) {
  std::vector<double> seconds;
  for (const metrics::StepRecord& step : steps)
    seconds.push_back(step.phase_seconds[static_cast<size_t>(phase)]);
  const auto middle = seconds.begin() + static_cast<int64_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  return *middle;
}

}  // namespace

StepCosts MeasuredCosts::scaled_to(uint64_t draws, double share) const {
  const double work = static_cast<double>(draws) / static_cast<double>(micro_batch);
  StepCosts scaled = costs;
  scaled.forward *= work;
  scaled.backward *= work;
  scaled.norm *= share / own_share;
  scaled.update *= share / own_share;
  return scaled;
}

MeasuredCosts costs_of_run(const std::filesystem::path& run) {
  std::vector<metrics::StepRecord> steps = metrics::read_run_log(run / "log.jsonl");
  constexpr size_t kWarmUp = 2;
  if (steps.size() <= kWarmUp) {
    throw UsageError(fmt::format("{}: has {} steps; at least {} are needed to tell what one takes",
                                 run.string(), steps.size(), kWarmUp + 1));
  }
  steps.erase(steps.begin(), steps.begin() + kWarmUp);
  const std::vector<std::filesystem::path> checkpoints = list_checkpoints(run);
  if (checkpoints.empty()) {
    throw UsageError(fmt::format(
        "{}: has no checkpoint, which says over how many ranks it was trained", run.string()));
  }
  const nlohmann::json manifest = read_checkpoint_manifest(checkpoints.front());
  const RunConfig config =
      parse_config(manifest.at("config").get<std::string>(), checkpoints.front());
  const int ranks = manifest.at("world_size").get<int>();
  const BatchSplit split = split_batch(config.train.global_batch, config.train.micro_batch, ranks);
  const auto accumulation = static_cast<double>(split.accumulation);

  MeasuredCosts measured;
  measured.micro_batch = split.micro;
  measured.own_share = config.optimizer.shard ? 1.0 / ranks : 1;
  measured.costs.forward = median_of(steps, Phase::kForward) / accumulation;
  measured.costs.backward = median_of(steps, Phase::kBackward) / accumulation;
  measured.costs.update = median_of(steps, Phase::kOptimizer);
  return measured;
}

}  // namespace kessoku::runtime
