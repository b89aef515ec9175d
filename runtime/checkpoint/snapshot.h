#pragma once

#include <set>

#include "model/weights/lazy_tensor.h"
#include "runtime/training/trainer.h"

namespace kessoku::runtime {

/// A copy of what a rank writes of a checkpoint, so that training can go on meanwhile. The memory
/// is kept for the next one.
class Snapshot {
 public:
  /// `names`: the trained parameters ("unet.…") of whose published weights this rank writes
  /// something, in `dtype`.
  Snapshot(std::set<std::string> names, at::ScalarType dtype)
      : names_(std::move(names)), dtype_(dtype) {}

  /// Takes the memory for copies; `touch`, on any thread, makes it the process's, which takes
  /// longer than to copy.
  void reserve(Trainer& trainer);
  void touch() const;
  /// Whether there is memory for copies.
  bool has_room() const { return held_.contains("state.parameters"); }
  /// Copies step and state of `trainer`. Collective.
  void take(Trainer& trainer);
  /// The same without copies, as far as may be, where memory is short: training must wait until
  /// `release`. Collective.
  void borrow(Trainer& trainer);
  /// Lets go of what was borrowed.
  void release();
  /// Bytes that `take` copies.
  uint64_t bytes(Trainer& trainer) const;

  uint64_t step() const { return step_; }
  /// Of which so many were the optimizer's.
  uint64_t optimizer_steps() const { return optimizer_steps_; }
  const LossScaler& scaler() const { return scaler_; }
  /// The optimizer's moments, "parameters" and, with EMA, "ema": f32, each this rank's ranges one
  /// after the other.
  const model::TensorOutputs& state() const { return state_; }
  const std::vector<Range>& ranges() const { return ranges_; }
  /// The published weights of `names`.
  const model::Parameters& weights() const { return weights_; }

 private:
  void note(Trainer& trainer);
  void reserve_weights(Trainer& trainer);
  void copy_weights(Trainer& trainer);

  std::set<std::string> names_;
  at::ScalarType dtype_;
  uint64_t step_ = 0;
  uint64_t optimizer_steps_ = 0;
  LossScaler scaler_{false};
  std::vector<Range> ranges_;
  model::TensorOutputs state_;
  model::Parameters weights_;
  std::map<std::string, at::Tensor> held_;  ///< memory for copies, by tensor
};

}  // namespace kessoku::runtime
