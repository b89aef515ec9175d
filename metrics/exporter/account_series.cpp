#include "metrics/exporter/account_series.h"

namespace kessoku::metrics {

AccountSeries::AccountSeries(SeriesRegistry& registry)
    : began_(registry.gauge("kessoku_run_began_timestamp_seconds",
                            "When the run was first started, since 1970")),
      starts_(registry.gauge("kessoku_run_starts", "Starts of the run so far, the first included")),
      redone_(registry.gauge("kessoku_run_redone_steps",
                             "Steps that were taken again after a restart, so far")) {
  for (size_t i = 0; i < kCauses; ++i) {
    seconds_[i] = &registry.gauge("kessoku_run_seconds",
                                  "Wall time since the run was first started, by what it went to",
                                  {{"cause", to_string(static_cast<Cause>(i))}});
  }
}

void AccountSeries::set(const RunAccount& account) {
  began_.Set(account.began);
  starts_.Set(static_cast<double>(account.starts));
  redone_.Set(static_cast<double>(account.redone_steps));
  for (size_t i = 0; i < kCauses; ++i) seconds_[i]->Set(account.seconds[i]);
}

}  // namespace kessoku::metrics
