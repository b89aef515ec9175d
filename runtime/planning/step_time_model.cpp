#include "runtime/planning/step_time_model.h"

#include <algorithm>
#include <numeric>
#include <ranges>

#include "runtime/training/partition.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

/// One step after the other on two clocks: what computes, and what exchanges in the background.
class Simulation {
 public:
  Simulation(const StepCosts& costs, uint64_t accumulation, const Traffic& traffic,
             const NetworkModel& network, int ranks)
      : costs_(costs),
        accumulation_(static_cast<double>(accumulation)),
        traffic_(traffic),
        short_sum_(network.short_sum_seconds(ranks)),
        weights_(network.exchange(ranks, traffic.weight_bytes)),
        whole_gradients_(network.exchange(ranks, sizeof(float))) {
    const SummationTree tree = traffic.tree.value_or(SummationTree::over_ranks(ranks));
    gradients_ = traffic.as_nccl_sums && network.rings
                     ? network.exchange(ranks, traffic.gradient_bytes)
                     : network.tree_exchange(tree, traffic.gradient_bytes);
  }

  StepPrediction step() {
    prediction_ = {};
    const double start = now_;
    receive_weights();
    compute((accumulation_ - 1) * (costs_.forward + costs_.backward));
    send_gradients();
    compute(costs_.norm);
    send(short_sum_);
    await(sent_);
    arrivals_.clear();
    const double elements = std::accumulate(traffic_.buckets.begin(), traffic_.buckets.end(), 0.0);
    for (const double bucket : traffic_.buckets | std::views::reverse) {
      compute(costs_.update * bucket / elements);
      if (traffic_.shard) send(weights_, bucket);
      arrivals_.push_back(sent_);
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
  void send(const CollectiveCost& cost, double numel) {
    send(cost.seconds(numel));
    prediction_.bytes_out += cost.bytes_out(numel);
  }
  void await(double arrival) {
    prediction_.exposed += std::max(0.0, arrival - now_);
    now_ = std::max(now_, arrival);
  }
  /// The first forward, on the weights of the step before.
  void receive_weights() {
    if (!traffic_.overlap) await(sent_);
    const size_t count = arrivals_.size();
    double done = 0;  // of forward
    for (size_t i = 0; i < count; ++i) {
      const double even = static_cast<double>(i) / static_cast<double>(count);
      const double needed = costs_.needed.size() == count ? costs_.needed[i] : even;
      compute(std::max(0.0, needed - done) * costs_.forward);
      done = std::max(done, needed);
      await(arrivals_[i]);
    }
    compute((1 - done) * costs_.forward);
  }
  /// Backward, and what is sent meanwhile.
  void send_gradients() {
    const double start = now_;
    const size_t count = traffic_.buckets.size();
    for (size_t i = 0; i < count; ++i) {
      const double even = static_cast<double>(i + 1) / static_cast<double>(count);
      const double ready = costs_.ready.size() == count ? costs_.ready[i] : even;
      now_ = start + (traffic_.overlap ? ready : 1) * costs_.backward;
      send(gradients_, traffic_.buckets[i]);
      if (!traffic_.shard) send(whole_gradients_, traffic_.buckets[i]);
    }
    now_ = start;
    compute(costs_.backward);
    await(sent_);
  }

  const StepCosts& costs_;
  double accumulation_;
  const Traffic& traffic_;
  double short_sum_;  ///< seconds
  CollectiveCost gradients_, weights_, whole_gradients_;
  double now_ = 0, sent_ = 0;     ///< seconds; when all that was sent so far has arrived
  std::vector<double> arrivals_;  ///< of the last step's weights, in the order of sending
  StepPrediction prediction_;
};

}  // namespace

Traffic traffic_of(const RunConfig& config, int64_t numel, int ranks) {
  const Partition partition(numel, bucket_numel(config), ranks);
  Traffic traffic;
  for (size_t i = 0; i < partition.buckets(); ++i)
    traffic.buckets.push_back(static_cast<double>(partition.bucket(i).size()));
  traffic.tree = summation_tree(config, ranks);
  traffic.as_nccl_sums =
      reduction_of(config) == Reduction::kFast && config.communication.wire == "fp32";
  traffic.gradient_bytes = config.communication.wire == "bf16" ? 2 : 4;
  traffic.weight_bytes = static_cast<double>(c10::elementSize(dtype_of(config)));
  traffic.shard = config.optimizer.shard;
  traffic.overlap = config.communication.overlap;
  return traffic;
}

StepPrediction predict_step(const StepCosts& costs, uint64_t accumulation, const Traffic& traffic,
                            const NetworkModel& network, int ranks) {
  Simulation simulation(costs, accumulation, traffic, network, ranks);
  simulation.step();  // the first one waits for no weights
  return simulation.step();
}

}  // namespace kessoku::runtime
