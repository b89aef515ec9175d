#include "runtime/training/loss_scaler.h"

namespace kessoku::runtime {

void LossScaler::update(bool finite) {
  constexpr uint64_t kGrowthInterval = 2000;
  if (!on_) return;
  if (!finite) {
    scale_ /= 2;
    good_steps_ = 0;
  } else if (++good_steps_ == kGrowthInterval) {
    scale_ *= 2;
    good_steps_ = 0;
  }
}

void LossScaler::restore(double scale, uint64_t good_steps) {
  if (!on_) return;
  scale_ = scale;
  good_steps_ = good_steps;
}

}  // namespace kessoku::runtime
