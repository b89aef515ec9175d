#include "metrics/rank_pace.h"

#include <algorithm>

namespace kessoku::metrics {

namespace {

double ratio(double value, double base) { return base > 0 ? value / base : 1; }

}  // namespace

void RankPace::add(const std::vector<double>& seconds) {
  recent_.resize(seconds.size(), MovingAverage(20));
  long_.resize(seconds.size(), MovingAverage(1000));
  for (size_t i = 0; i < seconds.size(); ++i) {
    recent_[i].add(seconds[i]);
    long_[i].add(seconds[i]);
  }
}

double RankPace::against_others(size_t rank) const {
  if (rank >= recent_.size()) return 1;
  std::vector<double> all;
  for (const MovingAverage& average : recent_) all.push_back(average.value());
  // The lower middle one: of two ranks the faster.
  const auto middle = all.begin() + static_cast<int64_t>((all.size() - 1) / 2);
  std::ranges::nth_element(all, middle);
  return ratio(recent_[rank].value(), *middle);
}

double RankPace::against_past(size_t rank) const {
  return rank < recent_.size() ? ratio(recent_[rank].value(), long_[rank].value()) : 1;
}

}  // namespace kessoku::metrics
