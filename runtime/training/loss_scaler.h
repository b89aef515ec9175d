#pragma once

#include <cstdint>

namespace kessoku::runtime {

/// Dynamic loss scaling for f16 (Micikevicius et al., 2018; the constants of PyTorch's GradScaler):
/// gradients are multiplied by `scale` so that small ones do not vanish. A step whose gradients
/// overflow is left out and the scale halved; after 2,000 good steps it is doubled.
class LossScaler {
 public:
  /// Off: the scale is 1 and stays so.
  explicit LossScaler(bool on) : on_(on), scale_(on ? 65536 : 1) {}

  double scale() const { return scale_; }
  /// Whether an overflow may be the scale's fault.
  bool may_lower() const { return on_ && scale_ > kLeast; }
  void update(bool finite);
  uint64_t good_steps() const { return good_steps_; }
  /// Takes up a run.
  void restore(double scale, uint64_t good_steps);

 private:
  static constexpr double kLeast = 1.0 / 65536;

  bool on_;
  double scale_;
  uint64_t good_steps_ = 0;  ///< since the last change
};

}  // namespace kessoku::runtime
