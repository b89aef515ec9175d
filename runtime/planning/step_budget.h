#pragma once

#include <span>
#include <string>

#include "data/images/bucket.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"
#include "runtime/planning/measured_costs.h"

namespace kessoku::runtime {

/// What a GPU does at most, by NVIDIA's data sheets: dense products with sums in f32.
struct GpuPeaks {
  const char* name;
  double fp32, tf32, bf16;  ///< operations a second; fp16's is bf16's
  double bandwidth;         ///< of its memory, bytes a second
};
std::span<const GpuPeaks> known_gpus();
/// None if `name` is none of them.
const GpuPeaks* find_gpu(const std::string& name);

/// Operators of one kind.
struct BudgetLine {
  std::string kind;
  int64_t calls = 0;
  double flops = 0;
  double bytes = 0;    ///< that they read and write
  double seconds = 0;  ///< the sum of each one's larger time: of its operations, or of its bytes
};

/// The least that a step of one micro-batch can take a GPU.
struct StepBudget {
  std::vector<BudgetLine> lines;  ///< the largest first
  MeasuredCosts costs;
};

/// By the operators that the run's networks call on the meta device, for micro-batches in the
/// largest of `buckets`; what the trainer itself does is reckoned by bytes. Nothing is computed and
/// no GPU is needed. Throws c10::Error as trace_compute_memory does.
StepBudget budget_step(const RunConfig& config, const model::StableDiffusion& model,
                       const std::vector<data::Bucket>& buckets, const GpuPeaks& gpu);

}  // namespace kessoku::runtime
