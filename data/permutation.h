#pragma once

#include <vector>

#include "base/random.h"

namespace kessoku::data {

/// A random order of 0 … size − 1 that needs no table: the swap-or-not shuffle (Hoang, Morris,
/// Rogaway, CRYPTO 2012). Each round pairs every place with another one and swaps some of the
/// pairs; it is a bijection for every size, without the cycle walking and the poor mixing of few
/// bits that Feistel networks have.
class Permutation {
 public:
  /// The identity on nothing.
  Permutation() = default;
  /// Takes its keys from `random`. `size` may be 0.
  Permutation(uint64_t size, RandomStream random);

  uint64_t size() const { return size_; }
  /// Where `place` < size goes.
  uint64_t operator()(uint64_t place) const;

 private:
  struct Round {
    uint64_t partner_sum;  // x is paired with partner_sum − x modulo size
    uint64_t key;
  };
  uint64_t size_ = 0;
  std::vector<Round> rounds_;
};

}  // namespace kessoku::data
