#include "data/permutation.h"

#include <bit>

namespace kessoku::data {

Permutation::Permutation(uint64_t size, RandomStream random) : size_(size) {
  if (size < 2) return;
  // A round halves the distance from uniform; 2 log2(size) rounds hide the size, the rest makes it
  // small.
  const int rounds = 3 * std::bit_width(size) + 16;
  rounds_.reserve(rounds);
  for (int i = 0; i < rounds; ++i) {
    const uint64_t partner_sum = random.below(size);
    rounds_.push_back({partner_sum, random.next64()});
  }
}

uint64_t Permutation::operator()(uint64_t place) const {
  for (const Round& round : rounds_) {
    const uint64_t partner = round.partner_sum >= place ? round.partner_sum - place
                                                        : round.partner_sum + (size_ - place);
    // Both of a pair must come to the same decision, so it is made by the larger one.
    if (mix_bits(std::max(place, partner) ^ round.key) >> 63) place = partner;
  }
  return place;
}

}  // namespace kessoku::data
