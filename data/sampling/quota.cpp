#include "data/sampling/quota.h"

#include <cmath>

#include "base/random.h"

namespace kessoku::data {

Quota::Quota(double pass_draws, const std::vector<uint64_t>& parts, uint64_t random)
    : parts_(parts) {
  const double nearest = std::round(pass_draws);
  if (std::abs(pass_draws - nearest) <= nearest * 0x1p-46) pass_draws = nearest;
  const double whole = std::floor(pass_draws);
  whole_ = static_cast<uint64_t>(whole);
  fraction_ = static_cast<uint64_t>((pass_draws - whole) * 0x1p64);
  start_ = static_cast<uint64_t>((uint128{random} * parts_.total()) >> 64);
  phase_ = mix_bits(random);
}

Quota::Drawn Quota::drawn_before(size_t part, uint64_t pass) const {
  const auto rest = static_cast<uint64_t>((uint128{pass} * fraction_ + phase_) >> 64);
  const uint64_t reached = start_ + pass * whole_ + rest;
  const uint64_t images = parts_.total();
  return {reached / images, parts_.count(part, reached % images)};
}

uint64_t Quota::draws(size_t part, uint64_t from, uint64_t to) const {
  const Drawn before = drawn_before(part, from), after = drawn_before(part, to);
  return (after.rounds - before.rounds) * images(part) + after.begun - before.begun;
}

double Quota::multiplier() const {
  return static_cast<double>(pass_draws()) * 0x1p-64 / static_cast<double>(parts_.total());
}

}  // namespace kessoku::data
