#include "data/sampling/permutation.h"

#include <bit>

#include "data/sampling/uint128.h"

namespace kessoku::data {

Permutation::Permutation(uint64_t largest, RandomStream random) {
  if (largest < 2) return;
  // A round halves the distance from uniform; 2 log2(size) rounds hide the size, the rest makes it
  // small.
  const int rounds = 3 * std::bit_width(largest) + 16;
  rounds_.reserve(rounds);
  for (int i = 0; i < rounds; ++i) {
    const uint64_t partner_sum = random.next64();
    rounds_.push_back({partner_sum, random.next64()});
  }
}

void Permutation::apply(std::span<Item> items) const {
  for (const Round& round : rounds_) {
    for (Item& item : items) {
      const auto sum = static_cast<uint64_t>((uint128{round.partner_sum} * item.size) >> 64);
      const uint64_t place = item.place;
      const uint64_t partner = sum >= place ? sum - place : sum + (item.size - place);
      // Both of a pair must come to the same decision, so it is made by the larger one.
      const uint64_t decision = mix_bits(std::max(place, partner) ^ round.key ^ item.salt);
      item.place = decision >> 63 ? partner : place;
    }
  }
}

}  // namespace kessoku::data
