#pragma once

#include <span>
#include <vector>

#include "base/random.h"

namespace kessoku::data {

/// Random orders of 0 … size − 1 that need no table: the swap-or-not shuffle (Hoang, Morris,
/// Rogaway, CRYPTO 2012). Each round pairs every place with another one and swaps some of the
/// pairs; it is a bijection for every size, without the cycle walking and the poor mixing of few
/// bits that Feistel networks have. One set of keys serves any number of orders, told apart by
/// `salt`.
class Permutation {
 public:
  /// The identity.
  Permutation() = default;
  /// Takes its keys from `random`: enough of them for sizes up to `largest`.
  Permutation(uint64_t largest, RandomStream random);

  struct Item {
    uint64_t place;  ///< < size; becomes where it goes
    uint64_t size;
    uint64_t salt;  ///< well mixed
  };
  /// Several at once, which the processor overlaps.
  void apply(std::span<Item> items) const;

 private:
  struct Round {
    uint64_t partner_sum;  // · size / 2^64: x is paired with that − x modulo size
    uint64_t key;
  };
  std::vector<Round> rounds_;
};

}  // namespace kessoku::data
