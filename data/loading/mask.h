#pragma once

#include <cstdint>
#include <span>

namespace kessoku::data {

struct MaskOptions {
  double whole = 0.25;  ///< probability that all of an image is to be repainted
};

/// What inpainting models are trained to repaint: 1 there, 0 elsewhere; `out` is (height, width),
/// row by row. Rectangles, ellipses or strokes of a brush, a few of one kind, each of at least an
/// eighth of the image's shorter side; or the whole image. A function of (seed, draw, height,
/// width, options) alone. In the manner of LaMa's (Suvorov et al., 2021) large masks.
void fill_mask(uint64_t seed, uint64_t draw, int64_t height, int64_t width,
               const MaskOptions& options, std::span<float> out);

}  // namespace kessoku::data
