#include "metrics/ledger/ledger.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace kessoku::metrics {

void LossSum::add(double loss) {
  ++count;
  sum += loss;
  squares += loss * loss;
}

void LossSum::add(const LossSum& other) {
  count += other.count;
  sum += other.sum;
  squares += other.squares;
}

double LossSum::mean() const {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

double LossSum::spread() const {
  return std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean() * mean()));
}

LossSum LedgerImage::total() const {
  LossSum sum;
  for (const LossSum& bin : bins) sum.add(bin);
  return sum;
}

void Ledger::add(uint64_t after, const std::vector<DrawLoss>& losses) {
  step = after;
  for (const DrawLoss& draw : losses) {
    if (!std::isfinite(draw.loss)) continue;
    const size_t bin = static_cast<size_t>(std::max(0, draw.timestep)) * kLedgerBins / kTimesteps;
    images.at(draw.example).bins[std::min(bin, kLedgerBins - 1)].add(draw.loss);
  }
}

void Ledger::resume(const Ledger& earlier) {
  first_step = earlier.first_step;
  step = earlier.step;
  std::unordered_map<std::string_view, size_t> places;
  for (size_t i = 0; i < earlier.images.size(); ++i) places.emplace(earlier.images[i].source, i);
  for (size_t i = 0; i < images.size(); ++i) {
    const auto found = places.find(images[i].source);
    if (found == places.end()) continue;
    // Names that were not UTF-8 may look alike, but keep their places.
    const bool in_place = i < earlier.images.size() && earlier.images[i].source == images[i].source;
    images[i].bins = earlier.images[in_place ? i : found->second].bins;
  }
}

}  // namespace kessoku::metrics
