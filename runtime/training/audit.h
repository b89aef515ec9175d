#pragma once

#include <filesystem>

#include "data/loading/loader.h"
#include "model/networks/parameter.h"
#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// Writes the first global batches of a run with their losses, so that anyone can replay them
/// elsewhere: audit/step-NNNNNNNN.safetensors with latents (scaled) or images, noise, timesteps,
/// input_ids and loss, the global batch, in draw order, as first dimension. Collective.
class Audit {
 public:
  /// Writes steps 1 … `batches`.
  Audit(std::filesystem::path run, uint64_t batches, Communicator& communicator);

  /// One micro-batch and its losses (B).
  void add(const data::Batch& batch, const at::Tensor& losses);
  /// After the last micro-batch of a step.
  void finish_step();

 private:
  /// (B, …) of each rank to (ranks, B, …).
  at::Tensor gather(const at::Tensor& own);

  std::filesystem::path run_;
  uint64_t batches_;
  Communicator& communicator_;
  uint64_t step_ = 0;  ///< of the micro-batches that are held
  std::vector<model::Parameters> micro_batches_;
};

}  // namespace kessoku::runtime
