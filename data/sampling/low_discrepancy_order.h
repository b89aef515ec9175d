#pragma once

#include <cstdint>
#include <utility>

namespace kessoku::data {

/// An order of 0 … size − 1 in which every prefix is spread evenly: of any range of them, the first
/// x hold x · range / size, give or take a few. A rotation by about the golden ratio, without a
/// table.
class LowDiscrepancyOrder {
 public:
  /// Needs size > 0 and start < size.
  LowDiscrepancyOrder(uint64_t size, uint64_t start);

  uint64_t size() const { return size_; }
  uint64_t operator()(uint64_t place) const;

 private:
  uint64_t size_;
  uint64_t start_;
  uint64_t stride_;  // coprime to size
};

}  // namespace kessoku::data
