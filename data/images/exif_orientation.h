#pragma once

#include <ATen/core/Tensor.h>

#include "data/images/crop.h"

namespace kessoku::data {

/// How EXIF says that stored pixels are to be shown: first transposed, then mirrored.
struct Turn {
  bool transpose = false;
  bool mirror_x = false;
  bool mirror_y = false;

  /// The Orientation tag; 1 and all that is not from 1 to 8 turn nothing.
  static Turn from_exif(int orientation);

  /// Where `crop` of a width × height image (as shown) is in the stored one.
  Crop to_stored(Crop crop, int64_t width, int64_t height) const;
  Crop to_shown(Crop crop, int64_t width, int64_t height) const;  ///< the way back
  /// (H, W, C) as stored → as shown.
  at::Tensor apply(const at::Tensor& pixels) const;
};

}  // namespace kessoku::data
