#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace kessoku::data {

/// Decodes a whole JPEG of one or three channels to (H, W, 3) u8 RGB, as stored (no EXIF turn, no
/// color profile). `shrink` (1, 2, 4 or 8) divides the sides, rounding up, in the inverse cosine
/// transform: much faster than decoding all and as good for scaling down further. `width` and
/// `height` are the stored ones, which were held against the pixel limit. Throws DataError with
/// libjpeg's reason for a file that is cut short or damaged.
at::Tensor decode_jpeg(std::string_view bytes, int64_t width, int64_t height, int shrink);

}  // namespace kessoku::data
