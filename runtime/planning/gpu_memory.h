#pragma once

#include <optional>

#include "data/images/bucket.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/communication/communicator.h"
#include "runtime/planning/memory_plan.h"

namespace kessoku::runtime {

/// What a run holds of a GPU over `ranks`; nothing where networks cannot be traced.
std::optional<MemoryPlan> plan_gpu_memory(const RunConfig& config,
                                          const std::vector<data::Bucket>& buckets,
                                          const model::StableDiffusion& model, int ranks);

/// The plan of this run. Throws UsageError on all ranks if it cannot fit into one's `device`,
/// naming keys that would help; warns where it may not. Nothing is to be said of a CPU. To be
/// called before the model is moved there. Collective.
std::optional<MemoryPlan> require_gpu_memory(const RunConfig& config,
                                             const std::vector<data::Bucket>& buckets,
                                             const model::StableDiffusion& model, at::Device device,
                                             Communicator& communicator);

/// The most bytes that tensors had of a GPU so far, and that its allocator took for them.
struct GpuMemoryPeak {
  uint64_t tensors, reserved;
};
std::optional<GpuMemoryPeak> gpu_memory_peak(at::Device device);

}  // namespace kessoku::runtime
