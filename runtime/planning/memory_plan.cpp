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
constexpr uint64_t kMiB = uint64_t{1} << 20;

/// Estimates: no GPU was there to measure them.
constexpr uint64_t kContext = 500 * kMiB, kWorkSpace = 256 * kMiB, kNccl = 400 * kMiB;
/// Of the memory that comes and goes.
constexpr double kFragmented = 0.1;

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

/// On a GPU, norm and step of a bucket after backward: its gradients in f32 and twice in f64.
uint64_t update_bytes(const Partition& partition) {
  return 24 * static_cast<uint64_t>(partition.bucket(0).size());
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

uint64_t gpu_libraries(int ranks) { return kContext + kWorkSpace + (ranks > 1 ? kNccl : 0); }

MemoryPlan plan_memory(const RunConfig& config, const MemoryInputs& inputs, int ranks) {
  const Partition partition(inputs.trained, bucket_numel(config), ranks);
  const auto all = static_cast<uint64_t>(partition.numel());
  const uint64_t own = config.optimizer.shard ? all / static_cast<uint64_t>(ranks) : all;
  const uint64_t element = c10::elementSize(dtype_of(config));
  const uint64_t moments = make_update_rule(config.optimizer)->moments().size();
  const bool rounded = element < kFloatBytes;
  const bool averages = config.ema.decay > 0;
  const bool buffered = gradient_storage_of(config, ranks) == GradientStorage::kBuffer;

  MemoryPlan plan;
  plan.program = inputs.gpu ? gpu_libraries(ranks) : inputs.program;
  plan.weights = all * element;
  plan.frozen = inputs.frozen;
  plan.gradients = buffered ? all * kFloatBytes * gradient_buffers(config, ranks) : 0;
  plan.moments = moments * own * kFloatBytes;
  plan.master = rounded ? own * kFloatBytes : 0;
  plan.ema = averages ? own * kFloatBytes : 0;
  plan.wire = wire_bytes(config, partition, ranks);
  // Those that are ready, the one that trains, and one a reading thread.
  plan.loader =
      inputs.batch * static_cast<uint64_t>(config.data.prefetch + config.data.threads + 1);
  plan.activations = inputs.activations;
  plan.sampling = config.draws_samples() ? inputs.sampling : 0;
  // Ranks share what is to be written, sharded or not.
  if (config.checkpoint.background) {
    plan.snapshot = all *
                    (kFloatBytes * (moments + (averages ? 2 : 1)) + weights_file_bytes(config)) /
                    static_cast<uint64_t>(ranks);
  }
  if (averages || rounded)
    plan.gathered = static_cast<uint64_t>(partition.bucket(0).size()) * kFloatBytes;
  plan.verification = verification_bytes(config, partition, moments, ranks);

  const uint64_t stays = plan.program + plan.weights + plan.frozen + plan.gradients + plan.moments +
                         plan.master + plan.ema;
  const uint64_t waiting = plan.wire + (inputs.gpu ? 0 : plan.loader + plan.snapshot);
  // Gradients without a buffer are there until the optimizer has stepped.
  const uint64_t left = buffered ? 0 : all * element;
  const uint64_t update = inputs.gpu ? left + update_bytes(partition) : left;
  // Weights arrive in f32, and are rounded once the optimizer has its copy; then come averages. A
  // GPU has the networks' own until they are in the flat buffer.
  const uint64_t arriving = rounded ? stays - plan.ema + all * kFloatBytes : stays;
  const uint64_t moving = inputs.gpu ? plan.program + plan.frozen + 2 * all * kFloatBytes : 0;
  const std::pair<const char*, uint64_t> moments_of_a_run[] = {
      {"the start", std::max(arriving, moving)},
      {"a step", stays + waiting + std::max(plan.activations, update)},
      {"a verification", stays + waiting + update + plan.verification},
      {"a checkpoint", stays + waiting + plan.gathered},
      {"sample prompts", stays + waiting + plan.sampling}};
  for (const auto& [name, bytes] : moments_of_a_run) {
    if (bytes <= plan.peak) continue;
    plan.peak = bytes;
    plan.peak_at = name;
  }
  if (inputs.gpu) {
    plan.fragmentation =
        static_cast<uint64_t>(kFragmented * static_cast<double>(plan.peak - stays));
  }
  plan.peak += plan.fragmentation;
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
          {"sampling", plan.sampling},
          {"verification", plan.verification},
          {"fragmentation", plan.fragmentation},
          {"peak", plan.peak}};
}

}  // namespace kessoku::runtime
