#pragma once

#include <vector>

#include "metrics/moving_average.h"

namespace kessoku::metrics {

/// How long each rank's own work of a step (data, forward, backward) takes, beside the others and
/// beside its own past. In step time itself all ranks are alike: they wait for each other.
class RankPace {
 public:
  /// Seconds of a step, by rank; always of as many ranks.
  void add(const std::vector<double>& seconds);
  /// Mean of the last 20 steps, relative to the median of all ranks; 1 before there is a step.
  double against_others(size_t rank) const;
  /// The same, relative to the rank's own mean of the last 1,000 steps.
  double against_past(size_t rank) const;

 private:
  std::vector<MovingAverage> recent_, long_;
};

}  // namespace kessoku::metrics
