#include "runtime/scaling.h"

#include <algorithm>
#include <numeric>

#include "runtime/partition.h"
#include "runtime/trainer.h"

namespace kessoku::runtime {

namespace {

/// One step after the other on two clocks: what computes, and what exchanges in the background.
class Simulation {
 public:
  Simulation(const StepCosts& costs, uint64_t accumulation, const Traffic& traffic,
             const Network& network, int ranks)
      : costs_(costs),
        accumulation_(static_cast<double>(accumulation)),
        traffic_(traffic),
        network_(network),
        ranks_(ranks) {}

  StepPrediction step() {
    prediction_ = {};
    const double start = now_;
    compute(costs_.zero);
    await();  // the weights of the step before
    compute((accumulation_ - 1) * (costs_.forward + costs_.backward) + costs_.forward);
    send_gradients();
    compute(costs_.norm);
    send(network_.short_sum_seconds(ranks_));
    await();
    const double elements = std::accumulate(traffic_.buckets.begin(), traffic_.buckets.end(), 0.0);
    for (const double bucket : traffic_.buckets) {
      compute(costs_.update * bucket / elements);
      if (traffic_.shard) send(network_.exchange_seconds(ranks_, bucket * traffic_.weight_bytes));
    }
    prediction_.seconds = now_ - start;
    return prediction_;
  }

 private:
  void compute(double seconds) {
    now_ += seconds;
    prediction_.compute += seconds;
  }
  void send(double seconds) {
    sent_ = std::max(sent_, now_) + seconds;
    prediction_.communication += seconds;
  }
  void await() {
    prediction_.exposed += std::max(0.0, sent_ - now_);
    now_ = std::max(now_, sent_);
  }
  double gradient_seconds(double bucket) const {
    if (traffic_.shard) return network_.exchange_seconds(ranks_, bucket * traffic_.gradient_bytes);
    if (traffic_.gradient_bytes == 4) return network_.all_reduce_seconds(ranks_, bucket * 4);
    return network_.exchange_seconds(ranks_, bucket * traffic_.gradient_bytes) +
           network_.exchange_seconds(ranks_, bucket * 4);
  }
  /// Backward, and what is sent meanwhile.
  void send_gradients() {
    const double start = now_;
    const size_t count = traffic_.buckets.size();
    for (size_t i = 0; i < count; ++i) {
      const double even = static_cast<double>(i + 1) / static_cast<double>(count);
      const double ready = costs_.ready.size() == count ? costs_.ready[i] : even;
      now_ = start + (traffic_.overlap ? ready : 1) * costs_.backward;
      send(gradient_seconds(traffic_.buckets[i]));
    }
    now_ = start;
    compute(costs_.backward);
    await();
  }

  const StepCosts& costs_;
  double accumulation_;
  const Traffic& traffic_;
  const Network& network_;
  int ranks_;
  double now_ = 0, sent_ = 0;  ///< seconds; when all that was sent so far has arrived
  StepPrediction prediction_;
};

}  // namespace

Traffic traffic_of(const RunConfig& config, int64_t numel, int ranks) {
  const Partition partition(numel, bucket_numel(config), ranks);
  Traffic traffic;
  for (size_t i = 0; i < partition.buckets(); ++i)
    traffic.buckets.push_back(static_cast<double>(partition.bucket(i).size()));
  traffic.gradient_bytes = config.communication.wire == "bf16" ? 2 : 4;
  traffic.weight_bytes = static_cast<double>(c10::elementSize(dtype_of(config)));
  traffic.shard = config.optimizer.shard;
  traffic.overlap = config.communication.overlap;
  return traffic;
}

StepPrediction predict_step(const StepCosts& costs, uint64_t accumulation, const Traffic& traffic,
                            const Network& network, int ranks) {
  Simulation simulation(costs, accumulation, traffic, network, ranks);
  simulation.step();  // the first one waits for no weights
  return simulation.step();
}

}  // namespace kessoku::runtime
