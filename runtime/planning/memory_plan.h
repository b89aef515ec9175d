#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Elements of the networks, and what of a rank's memory is measured, not derived. Bytes.
struct MemoryInputs {
  int64_t trained = 0;       ///< elements of the flat buffers, before they are padded
  uint64_t frozen = 0;       ///< of what is not trained
  uint64_t batch = 0;        ///< of what the loader makes for a micro-batch
  uint64_t activations = 0;  ///< the most that forward and backward hold, f32 gradients apart
  uint64_t sampling = 0;     ///< the most that networks hold while they make sample prompts
  uint64_t program = 0;      ///< program, libraries, store and tokenizer; of a GPU see below
  bool gpu = false;  ///< what is read ahead and copied for checkpoints is in the host's memory then
};

/// What a GPU's memory holds besides tensors: CUDA's context with the kernels that are in use, work
/// space of cuBLAS and cuDNN, and NCCL's buffers if there are several ranks.
uint64_t gpu_libraries(int ranks);

/// What rank 0, which writes the weights, holds; with ZeRO-1 what is marked "own" is 1/ranks of
/// all.
struct MemoryPlan {
  uint64_t program = 0;  ///< of a GPU what its libraries hold
  uint64_t weights = 0;  ///< that are trained, as they compute
  uint64_t frozen = 0;
  uint64_t gradients = 0;  ///< f32 buffers; those without one count among activations
  uint64_t moments = 0;    ///< own, f32
  uint64_t master = 0;     ///< own weights in f32, where they compute in less
  uint64_t ema = 0;        ///< own, f32
  uint64_t wire = 0;       ///< buffers of a bucket that is summed
  uint64_t loader = 0;     ///< batches that are read ahead
  uint64_t activations = 0;
  uint64_t snapshot = 0;       ///< copies that a checkpoint is written from in the background
  uint64_t gathered = 0;       ///< a bucket of whole f32 weights, while a checkpoint begins
  uint64_t sampling = 0;       ///< the networks that make sample prompts
  uint64_t verification = 0;   ///< states of a bucket's part that ranks step for each other
  uint64_t fragmentation = 0;  ///< of a GPU: what its allocator cannot hand out
  uint64_t peak = 0;
  const char* peak_at = "";  ///< when it is reached: "the start", "a step" …

  /// Of tensors alone, at the peak: what is needed at the very least.
  uint64_t tensors() const { return peak - program - fragmentation; }
};

/// Over `ranks`. See docs/scaling.md for the formula.
MemoryPlan plan_memory(const RunConfig& config, const MemoryInputs& inputs, int ranks);

/// Names and bytes of all terms, in the order above, the peak included.
std::vector<std::pair<std::string, uint64_t>> terms_of(const MemoryPlan& plan);

}  // namespace kessoku::runtime
