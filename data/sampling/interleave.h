#pragma once

#include <cstdint>
#include <vector>

namespace kessoku::data {

/// Deals turns 0, 1, 2, … to parts in proportion to their weights, evenly and without a table: at
/// any time the number of turns that a part has had differs from turns · weight / total by less
/// than 1 + log2(parts) / 2, and after `total` turns by nothing. A pure function of the turn. The
/// parts are the leaves of a balanced binary tree; each node rounds its left child's claim to the
/// nearest turn.
class Interleave {
 public:
  /// Needs a sum of weights in 1 … 2^62. Parts of weight 0 get no turn.
  explicit Interleave(const std::vector<uint64_t>& weights);

  struct Turn {
    size_t part;
    uint64_t index;  ///< how many turns the part had before
  };
  Turn at(uint64_t turn) const;
  /// Turns of `part` among the first `turns`.
  uint64_t count(size_t part, uint64_t turns) const;

  uint64_t weight(size_t part) const { return sums_[part + 1] - sums_[part]; }
  uint64_t total() const { return sums_.back(); }

 private:
  uint64_t left_claim(size_t low, size_t middle, size_t high, uint64_t turns) const;

  std::vector<uint64_t> sums_;  // sums_[i]: of the weights before part i
};

}  // namespace kessoku::data
