#pragma once

#include "data/images/bucket.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// What the networks of a run allocate on a GPU while they compute, weights, f32 gradients and the
/// optimizer's state apart. Bytes.
struct ComputeMemory {
  uint64_t step = 0;      ///< the most of a micro-batch's forward and backward
  uint64_t no_grad = 0;   ///< of its forward alone: validation
  uint64_t sampling = 0;  ///< of the sample prompts, if there are any
  uint64_t batch = 0;     ///< of what the loader makes for a micro-batch
};

/// By the allocations of the run's networks on the meta device, which knows shapes alone: takes
/// neither memory nor a GPU, and about a second. Micro-batches are of `micro` draws in the largest
/// of `buckets`; over `ranks`. Throws c10::Error where a network has an operator without a kernel
/// there.
ComputeMemory trace_compute_memory(const RunConfig& config, const model::StableDiffusion& model,
                                   const std::vector<data::Bucket>& buckets, int ranks);

}  // namespace kessoku::runtime
