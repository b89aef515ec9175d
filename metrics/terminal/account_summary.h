#pragma once

#include <optional>
#include <string>

#include "metrics/run_account.h"

namespace kessoku::metrics {

/// A rank whose own work takes longer than the others'.
struct SlowRank {
  size_t rank = 0;
  std::string host;
  double slowness = 1;  ///< relative to the median of all
};

/// Share of the wall time that was productive; 1 before there is any.
double goodput(const RunAccount& account);

/// What the time from one account to a later one of the same run went to: "71 % compute, 12 %
/// communication, 9 % data, 8 % other"; empty if there was none.
std::string describe_shares(const RunAccount& before, const RunAccount& after);

/// What a process of a run spent its time on, and what limited it: "412 steps in 3 min 2 s: 71 %
/// compute, 12 % communication, 9 % data, 8 % other; limited by compute". `before` and `after` are
/// the run's account at its start and its end. If the run has had other processes, what became of
/// the run follows on a second line.
std::string summarize(const RunAccount& before, const RunAccount& after, uint64_t steps,
                      const std::optional<SlowRank>& slow_rank = {});

}  // namespace kessoku::metrics
