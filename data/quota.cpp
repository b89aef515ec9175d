#include "data/quota.h"

#include <cmath>

namespace kessoku::data {
namespace {

constexpr uint128 kOne = uint128{1} << 64;

uint128 to_fixed(double multiplier) {
  if (multiplier < Quota::kMinMultiplier) return 0;
  const double nearest = std::round(multiplier);
  if (std::abs(multiplier - nearest) <= nearest * 0x1p-46) multiplier = nearest;
  const double whole = std::floor(multiplier);
  const auto fraction = static_cast<uint64_t>((multiplier - whole) * 0x1p64);
  return (static_cast<uint128>(whole) << 64) | fraction;
}

// Σ ⌊(a·i + b) / m⌋ over i < n, by Euclid's algorithm (a, b < m). Exact modulo 2^128.
uint128 floor_sum(uint128 n, uint128 m, uint128 a, uint128 b) {
  uint128 sum = 0;
  while (true) {
    if (a >= m) {
      const uint128 pairs = n % 2 == 0 ? n / 2 * (n - 1) : (n - 1) / 2 * n;
      sum += pairs * (a / m);
      a %= m;
    }
    if (b >= m) {
      sum += n * (b / m);
      b %= m;
    }
    const uint128 top = a * n + b;
    if (top < m) return sum;
    n = top / m;
    b = top % m;
    const uint128 old_m = m;
    m = a;
    a = old_m;
  }
}

}  // namespace

Quota::Quota(double multiplier, uint64_t phase)
    : multiplier_(to_fixed(multiplier)), phase_(phase) {}

uint64_t Quota::before(uint64_t x) const {
  const auto whole = static_cast<uint64_t>(multiplier_ >> 64);
  const auto fraction = static_cast<uint64_t>(multiplier_);
  return x * whole + static_cast<uint64_t>((uint128{x} * fraction + phase_) >> 64);
}

uint64_t Quota::draws(uint64_t first, uint64_t last, uint64_t pass) const {
  return before(last + pass) - before(first + pass);
}

uint128 Quota::fraction_sum(uint64_t count) const {
  return floor_sum(count, kOne, static_cast<uint64_t>(multiplier_), phase_);
}

uint64_t Quota::draws_before(uint64_t first, uint64_t last, uint64_t pass) const {
  // Image by image the sum over passes is F(k + pass) − F(k); the differences are exact though the
  // sums may wrap.
  const uint128 whole = (multiplier_ >> 64) * (last - first) * pass;
  const uint128 fractions = fraction_sum(last + pass) - fraction_sum(first + pass) -
                            fraction_sum(last) + fraction_sum(first);
  return static_cast<uint64_t>(whole + fractions);
}

uint64_t Quota::image_at(uint64_t first, uint64_t pass, uint64_t index) const {
  // The least x with F(x + 1) > F(first + pass) + index, that is u + (x + 1)·w ≥ that + 1.
  const uint128 target = ((uint128{before(first + pass)} + index + 1) << 64) - phase_;
  return static_cast<uint64_t>((target + multiplier_ - 1) / multiplier_) - 1 - pass;
}

}  // namespace kessoku::data
