#pragma once

#include "model/parameter.h"
#include "runtime/trainer.h"

namespace kessoku::runtime {

/// A copy of what a rank writes of a checkpoint, so that training can go on meanwhile. The memory
/// is kept for the next one: fresh pages cost as much as the copy.
class Snapshot {
 public:
  /// Copies step and state of `trainer`; `with_weights`: also the published weights, in `dtype`.
  /// Collective.
  void take(Trainer& trainer, bool with_weights, at::ScalarType dtype);
  /// The same without copies, where memory is short: training must wait until `release`. The
  /// weights stay f32.
  void borrow(Trainer& trainer, bool with_weights);
  /// Lets go of what was borrowed.
  void release();

  uint64_t step() const { return step_; }
  const LossScaler& scaler() const { return scaler_; }
  /// "parameters", "exp_avg", "exp_avg_sq" and, with EMA, "ema": f32, of what this rank owns.
  const model::Parameters& state() const { return state_; }
  const std::vector<Range>& ranges() const { return ranges_; }
  /// The trained weights under their names ("unet.…"); empty without.
  const model::Parameters& weights() const { return weights_; }

 private:
  uint64_t step_ = 0;
  LossScaler scaler_{false};
  std::vector<Range> ranges_;
  model::Parameters state_, weights_;
  at::Tensor flat_weights_;
  bool borrowed_ = false;
};

/// Bytes that a rank's snapshot takes.
uint64_t snapshot_bytes(Trainer& trainer, bool with_weights, at::ScalarType dtype);

}  // namespace kessoku::runtime
