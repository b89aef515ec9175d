#include "runtime/planning/compute_memory.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/sum.h>

#include "runtime/images/sample_prompts.h"
#include "runtime/planning/allocation_tracker.h"
#include "runtime/planning/meta_allocator.h"
#include "runtime/planning/meta_networks.h"
#include "runtime/training/gradient_reducer.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

namespace {

/// Bytes of a batch's tensors.
uint64_t bytes_of(const data::Batch& batch) {
  uint64_t bytes = 0;
  for (const at::Tensor& tensor : {batch.images, batch.masks, batch.latents, batch.noise,
                                   batch.timesteps, batch.loss_scale, batch.input_ids})
    bytes += tensor.defined() ? tensor.nbytes() : 0;
  return bytes;
}

}  // namespace

ComputeMemory trace_compute_memory(const RunConfig& config, const model::StableDiffusion& model,
                                   const std::vector<data::Bucket>& buckets, int ranks) {
  count_meta_tensors();
  AllocationTracker tracker;
  MetaNetworks networks(config, model);
  const uint64_t micro =
      split_batch(config.train.global_batch, config.train.micro_batch, ranks).micro;
  const std::unique_ptr<Communicator> alone = make_solo_communicator();
  const Partition partition(flat_numel(flat_layout(networks.trained())), bucket_numel(config), 1);
  FlatParameters flat(networks.trained(), partition.numel(), gradient_storage_of(config, ranks));
  GradientReducer reducer(flat, partition, {}, 1, *alone);
  flat.round_to(dtype_of(config));

  ComputeMemory memory;
  const auto most_of = [&](const auto& work) {
    const int64_t held = tracker.live();
    tracker.restart_peak();
    work();
    return static_cast<uint64_t>(tracker.peak() - held);
  };
  const data::Bucket& largest = largest_of(buckets);
  memory.batch = bytes_of(networks.batch(largest, micro));
  memory.step = most_of([&] {
    const at::Tensor losses = networks.objective().losses(networks.batch(largest, micro));
    reducer.prepare(0);
    losses.sum().backward();
  });
  flat.release_gradients();
  memory.no_grad = most_of([&] {
    const at::NoGradGuard no_grad;
    networks.objective().losses(networks.batch(largest, micro));
  });
  if (config.draws_samples())
    memory.sampling = most_of([&] { networks.sample(sample_size(config, model)); });
  return memory;
}

}  // namespace kessoku::runtime
