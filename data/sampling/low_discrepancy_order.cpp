#include "data/sampling/low_discrepancy_order.h"

#include <algorithm>
#include <numbers>

#include "data/sampling/uint128.h"

namespace kessoku::data {
namespace {

// The sum of the partial quotients of stride / size, which bounds the unevenness (Niederreiter,
// 1992, theorem 3.4); 0 if the two are not coprime.
uint64_t unevenness(uint64_t stride, uint64_t size) {
  uint64_t sum = 0;
  while (stride > 0) {
    sum += size / stride;
    size = std::exchange(stride, size % stride);
  }
  return size == 1 ? sum : 0;
}

// The best of some strides around the golden section.
uint64_t choose_stride(uint64_t size) {
  constexpr uint64_t kCandidates = 64;
  const auto golden =
      static_cast<uint64_t>(static_cast<double>(size) * (std::numbers::phi_v<double> - 1));
  uint64_t best = 1, best_sum = unevenness(1, size);
  for (uint64_t i = 0; i < kCandidates; ++i) {
    const uint64_t stride = golden + i - std::min(golden, kCandidates / 2);
    if (stride == 0 || stride >= size) continue;
    const uint64_t sum = unevenness(stride, size);
    if (sum > 0 && sum < best_sum) {
      best = stride;
      best_sum = sum;
    }
  }
  return best;
}

}  // namespace

LowDiscrepancyOrder::LowDiscrepancyOrder(uint64_t size, uint64_t start)
    : size_(size), start_(start), stride_(choose_stride(size)) {}

uint64_t LowDiscrepancyOrder::operator()(uint64_t place) const {
  const uint128 product = uint128{place} * stride_ + start_;
  if (product >> 64 == 0) return static_cast<uint64_t>(product) % size_;
  return static_cast<uint64_t>(product % size_);
}

}  // namespace kessoku::data
