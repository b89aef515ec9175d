#pragma once

#include <cstdint>

namespace kessoku::data {

__extension__ typedef unsigned __int128 uint128;

/// How often each image of a leaf is drawn in each pass. A leaf is a folder's own images: n of
/// them, all of multiplier w, in a fixed order k = 0 … n−1. Image k is drawn F(k+e+1) − F(k+e)
/// times in pass e, with F(x) = ⌊u + x·w⌋ and u in [0, 1) the leaf's phase (systematic sampling).
/// Both sums telescope: over a range of images in one pass, and over the passes of one image. So
/// either differs from its expectation by less than 1.
///
/// w is a fixed-point number with 64 fractional bits and u one with 64 bits; everything is exact
/// for them, in integers. The multiplier given as a double differs from what was meant by some
/// 2^-52 of itself, which no run is long enough to show.
class Quota {
 public:
  /// Needs 0 ≤ multiplier ≤ kMaxMultiplier. `phase` is u · 2^64. A multiplier within rounding of a
  /// whole number is taken as that number; one below kMinMultiplier as 0.
  Quota(double multiplier, uint64_t phase);

  /// Draws, in pass `pass`, of the images [first, last).
  uint64_t draws(uint64_t first, uint64_t last, uint64_t pass) const;
  /// Draws of the images [first, last) in all passes before `pass`.
  uint64_t draws_before(uint64_t first, uint64_t last, uint64_t pass) const;
  /// The image of draw `index` in pass `pass`, counting from the first draw of image `first`: the
  /// inverse of `draws`.
  uint64_t image_at(uint64_t first, uint64_t pass, uint64_t index) const;

  bool drawn() const { return multiplier_ != 0; }
  /// w · 2^64
  uint128 fixed() const { return multiplier_; }

  static constexpr double kMaxMultiplier = 0x1p40;
  static constexpr double kMinMultiplier = 0x1p-40;

 private:
  uint64_t before(uint64_t x) const;           // F(x)
  uint128 fraction_sum(uint64_t count) const;  // Σ ⌊u + x·frac(w)⌋ over x < count

  uint128 multiplier_ = 0;
  uint64_t phase_ = 0;
};

}  // namespace kessoku::data
