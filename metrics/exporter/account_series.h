#pragma once

#include <array>

#include "metrics/exporter/series_registry.h"
#include "metrics/run_account.h"

namespace kessoku::metrics {

/// Gauges of where a run stands over all its restarts. Rank 0 and `kessoku launch` serve them
/// alike.
class AccountSeries {
 public:
  explicit AccountSeries(SeriesRegistry& registry);
  void set(const RunAccount& account);

 private:
  std::array<prometheus::Gauge*, kCauses> seconds_{};
  prometheus::Gauge &began_, &starts_, &redone_;
};

}  // namespace kessoku::metrics
