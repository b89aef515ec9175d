#pragma once

#include <cstdint>

namespace kessoku::metrics {

/// Exponential moving average whose early values are plain means. Not for concurrent use.
class MovingAverage {
 public:
  /// Over about so many values.
  explicit MovingAverage(double values) : least_(1 / values) {}
  void add(double value) {
    const double share = 1 / static_cast<double>(++count_);
    value_ += (share > least_ ? share : least_) * (value - value_);
  }
  /// 0 before there is one.
  double value() const { return value_; }

 private:
  double least_;
  double value_ = 0;
  uint64_t count_ = 0;
};

}  // namespace kessoku::metrics
