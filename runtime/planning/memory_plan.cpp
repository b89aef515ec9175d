#include "runtime/planning/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "runtime/communication/tree_exchange.h"
#include "runtime/training/partition.h"
#include "runtime/training/trainer.h"
#include "runtime/training/update_rule.h"

namespace kessoku::runtime {

namespace {

constexpr uint64_t kFloatBytes = 4;

/// As if each rank were on a host of its own: no other hosts need more.
uint64_t wire_bytes(const RunConfig& config, const Partition& partition, int ranks) {
  std::vector<int> hosts(static_cast<size_t>(ranks));
  std::iota(hosts.begin(), hosts.end(), 0);
  const int64_t staged = staged_bytes({summation_tree(config, ranks), hosts}, wire_of(config));
  const auto bytes = static_cast<uint64_t>(staged * partition.part(0, 0).size());
  return std::min<uint64_t>(bytes, Staging::kLimit);
}

/// Buffers of the size of all gradients.
uint64_t gradient_buffers(const RunConfig& config, int ranks) {
  const BatchSplit split = split_batch(config.train.global_batch, config.train.micro_batch, ranks);
  const SummationTree leaves(static_cast<int64_t>(config.train.global_batch / split.micro), ranks);
  return 1 + kept_gradient_buffers(leaves, reduction_of(config));
}

/// Images and validation need all weights to publish at once, and a copy of the run's own
/// meanwhile.
bool publishes_all(const RunConfig& config) {
  return config.validation.fraction > 0 ||
         (!config.sample.prompts.empty() && config.sample.every_steps > 0);
}

/// Each rank has gradients, weights, moments and averages of one bucket's part from every rank, and
/// its own.
uint64_t verification_bytes(const RunConfig& config, const Partition& partition, uint64_t moments,
                            int ranks) {
  if (config.verify.every_steps == 0) return 0;
  const auto bucket = static_cast<uint64_t>(partition.bucket(0).size());
  const uint64_t part = config.optimizer.shard ? bucket / static_cast<uint64_t>(ranks) : bucket;
  const uint64_t rows = 2 + moments + (config.ema.decay > 0 ? 1 : 0);
  return (static_cast<uint64_t>(ranks) + 1) * rows * part * kFloatBytes;
}

uint64_t weights_file_bytes(const RunConfig& config) {
  return config.checkpoint.weights_dtype == "fp32" ? 4 : 2;
}

}  // namespace

MemoryPlan plan_memory(const RunConfig& config, const MemoryInputs& inputs, int ranks) {
  const Partition partition(inputs.trained, bucket_numel(config), ranks);
  const auto all = static_cast<uint64_t>(partition.numel());
  const uint64_t own = config.optimizer.shard ? all / static_cast<uint64_t>(ranks) : all;
  const uint64_t element = c10::elementSize(dtype_of(config));
  const uint64_t moments = make_update_rule(config.optimizer)->moments().size();
  const bool rounded = element<kFloatBytes, averages = config.ema.decay> 0;

  MemoryPlan plan;
  plan.program = inputs.program;
  plan.weights = all * element;
  plan.frozen = inputs.frozen;
  plan.gradients = all * kFloatBytes * gradient_buffers(config, ranks);
  plan.moments = moments * own * kFloatBytes;
  plan.master = rounded ? own * kFloatBytes : 0;
  plan.ema = averages ? own * kFloatBytes : 0;
  plan.wire = wire_bytes(config, partition, ranks);
  // Those that are ready, the one that trains, and one a reading thread.
  plan.loader =
      inputs.batch * static_cast<uint64_t>(config.data.prefetch + config.data.threads + 1);
  plan.activations = inputs.activations;
  // Ranks share what is to be written, sharded or not.
  if (config.checkpoint.background) {
    plan.snapshot = all *
                    (kFloatBytes * (moments + (averages ? 2 : 1)) + weights_file_bytes(config)) /
                    static_cast<uint64_t>(ranks);
  }
  if (averages || rounded) {
    plan.gathered = publishes_all(config)
                        ? all * (kFloatBytes + element)
                        : static_cast<uint64_t>(partition.bucket(0).size()) * kFloatBytes;
  }

  plan.verification = verification_bytes(config, partition, moments, ranks);

  const uint64_t stays = plan.program + plan.weights + plan.frozen + plan.gradients + plan.moments +
                         plan.master + plan.ema;
  // Weights arrive in f32, and are rounded once the optimizer has its copy.
  const uint64_t start = stays + (rounded ? all * kFloatBytes : 0);
  const uint64_t waiting = plan.wire + (inputs.gpu ? 0 : plan.loader + plan.snapshot);
  plan.peak = std::max(
      start, stays + waiting + std::max({plan.activations, plan.gathered, plan.verification}));
  return plan;
}

std::vector<std::pair<std::string, uint64_t>> terms_of(const MemoryPlan& plan) {
  return {{"program", plan.program},
          {"weights", plan.weights},
          {"frozen", plan.frozen},
          {"gradients", plan.gradients},
          {"moments", plan.moments},
          {"master", plan.master},
          {"ema", plan.ema},
          {"wire", plan.wire},
          {"loader", plan.loader},
          {"activations", plan.activations},
          {"snapshot", plan.snapshot},
          {"gathered", plan.gathered},
          {"verification", plan.verification},
          {"peak", plan.peak}};
}

}  // namespace kessoku::runtime
