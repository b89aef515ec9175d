#pragma once

#include <cstdint>

#include "data/images/bucket.h"

namespace kessoku::data {

/// A box in source pixels, after the EXIF turn.
struct Crop {
  int32_t left, top, right, bottom;
  int64_t width() const { return right - left; }
  int64_t height() const { return bottom - top; }
  bool operator==(const Crop&) const = default;
};

/// Variant k of an example is its crop k / 2, and mirrored if k is odd: so that V variants are the
/// plain center (V = 1), that and its mirror image (2), then more crops of both kinds.
inline bool is_mirrored(int64_t variant) { return variant % 2 == 1; }
inline int64_t crop_number(int64_t variant) { return variant / 2; }
inline int64_t variant_of_crop(int64_t crop, bool mirrored) { return 2 * crop + mirrored; }

/// The part of a width × height image that becomes `bucket`: number 0 is the largest box of the
/// bucket's aspect in the center. Others are EveryDream2's: up to 2 % of the short side cut from
/// each side as far as that leaves the bucket's size, then a box of the bucket's aspect whose place
/// has a triangular distribution around the center. `seed` and `number` decide alone.
Crop choose_crop(int64_t width, int64_t height, const Bucket& bucket, uint64_t seed,
                 int64_t number);

}  // namespace kessoku::data
