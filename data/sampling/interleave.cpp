#include "data/sampling/interleave.h"

#include <numeric>

#include "data/sampling/uint128.h"

namespace kessoku::data {

Interleave::Interleave(const std::vector<uint64_t>& weights) : sums_(weights.size() + 1, 0) {
  std::partial_sum(weights.begin(), weights.end(), sums_.begin() + 1);
}

// Of `turns` that reach the node [low, high), those that go to [low, middle).
uint64_t Interleave::left_claim(size_t low, size_t middle, size_t high, uint64_t turns) const {
  const uint64_t left = sums_[middle] - sums_[low];
  const uint64_t total = sums_[high] - sums_[low];
  return static_cast<uint64_t>((uint128{turns} * left + total / 2) / total);
}

Interleave::Turn Interleave::at(uint64_t turn) const {
  size_t low = 0, high = sums_.size() - 1;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const uint64_t left = left_claim(low, middle, high, turn);
    if (left_claim(low, middle, high, turn + 1) > left) {
      high = middle;
      turn = left;
    } else {
      low = middle;
      turn -= left;
    }
  }
  return {low, turn};
}

uint64_t Interleave::count(size_t part, uint64_t turns) const {
  size_t low = 0, high = sums_.size() - 1;
  while (high - low > 1 && sums_[high] > sums_[low]) {
    const size_t middle = low + (high - low) / 2;
    const uint64_t left = left_claim(low, middle, high, turns);
    if (part < middle) {
      high = middle;
      turns = left;
    } else {
      low = middle;
      turns -= left;
    }
  }
  return turns;
}

}  // namespace kessoku::data
