#pragma once

#include "data/images/image.h"

namespace kessoku::data {

/// Scales to exactly width × height with a Lanczos filter of three lobes, widened when scaling down
/// (Turkowski, 1990), first along rows and then along columns, each rounded to 8 bits: bit-equal to
/// Pillow's Image.resize(LANCZOS), by which diffusers scales images and masks.
Image resize_lanczos(const Image& image, int64_t width, int64_t height);

/// The part of `image` of width × height pixels from (left, top) on; it must lie within.
Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height);

/// ITU-R 601 brightness of each pixel, (H · W), as Pillow's convert("L").
std::vector<uint8_t> brightness(const Image& image);

}  // namespace kessoku::data
