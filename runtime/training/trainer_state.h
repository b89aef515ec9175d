#pragma once

#include <cstdint>
#include <vector>

#include "model/networks/parameter.h"
#include "runtime/training/loss_scaler.h"
#include "runtime/training/partition.h"

namespace kessoku::runtime {

/// What a rank's part of a checkpoint consists of. The tensors share memory with the trainer's.
struct TrainerState {
  uint64_t steps = 0;            ///< done
  uint64_t optimizer_steps = 0;  ///< that the optimizer took; fewer where gradients overflowed
  LossScaler scaler{false};
  std::vector<Range> owned;         ///< ranges of the flat layout that this rank steps
  std::vector<at::Tensor> weights;  ///< fp32, one for each of `owned`
  model::Parameters moments;        ///< fp32, each all of `owned`, one range after the other
  at::Tensor ema;                   ///< the averaged weights, likewise; undefined without EMA
};

}  // namespace kessoku::runtime
