#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace kessoku {

/// Philox4x32-10 (Salmon et al., SC'11): the numbers of at::Philox4_32(seed, subsequence, 0), of
/// which this makes many at once.
class Philox {
 public:
  Philox(uint64_t seed, uint64_t subsequence) : key_(seed), subsequence_(subsequence) {}

  uint32_t next();
  /// The next numbers, as so many calls of `next` would give them.
  void fill(std::span<uint32_t> out);

 private:
  uint64_t key_, subsequence_;
  uint64_t counter_ = 0;             ///< of the next block
  std::array<uint32_t, 4> block_{};  ///< the last one made
  size_t used_ = 4;                  ///< of it
};

}  // namespace kessoku
