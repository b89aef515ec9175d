#pragma once

#include "runtime/config.h"
#include "runtime/flat_parameters.h"

namespace kessoku::runtime {

/// Learning rate of `step` (0, 1, …) as a factor of the peak: linear warm-up from 0 over
/// `warmup_steps`, then constant, or linearly or by a half cosine down to 0 at `total`.
double schedule_factor(const RunConfig::Optimizer& config, uint64_t step, uint64_t total);

/// A contiguous run of the flat buffer with equal settings.
struct OptimizerSegment {
  int64_t begin, end;  ///< in elements of the flat buffer
  double lr;           ///< peak
  double weight_decay;
};

/// AdamW (Loshchilov & Hutter, 2019; as torch.optim.AdamW) on elements [begin, end) of the flat
/// buffers: all of them, or this rank's part (ZeRO-1).
class AdamW {
 public:
  AdamW(const FlatParameters& flat, const RunConfig::Optimizer& config, int64_t begin, int64_t end);

  /// One step with the gradients as they are; `factor` scales every segment's learning rate.
  void step(double factor);

  uint64_t steps_taken() const { return steps_taken_; }
  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  /// First and second moments, (end − begin) f32.
  at::Tensor& exp_avg() { return exp_avg_; }
  at::Tensor& exp_avg_sq() { return exp_avg_sq_; }
  void restore(uint64_t steps_taken) { steps_taken_ = steps_taken; }

 private:
  const FlatParameters& flat_;
  RunConfig::Optimizer config_;
  int64_t begin_, end_;
  uint64_t steps_taken_ = 0;
  std::vector<OptimizerSegment> segments_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

}  // namespace kessoku::runtime
