#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace kessoku::data {

/// What is added to the white noise of training.
struct NoiseOptions {
  double offset = 0;           ///< of one more normal for each channel, added to all its elements
  int64_t pyramid_levels = 0;  ///< 0 = off
  double pyramid_discount = 0.3;  ///< level i counts discount^i
};

/// The noise of draw `draw` for a latent of `shape` (C, h, w): a function of (seed, draw, shape,
/// options) alone, whatever batch it is made in.
///
/// Offset noise (Guttenberg, 2023) lets a model learn brightness. Pyramid noise (Whitaker, 2023)
/// adds normals at ever lower resolutions, each coarser by a random factor of 2 to 4 a level,
/// enlarged bilinearly, and scales the sum to unit deviation: here a draw's own, where other
/// trainers take the batch's.
void fill_noise(uint64_t seed, uint64_t draw, std::array<int64_t, 3> shape,
                const NoiseOptions& options, std::span<float> out);

}  // namespace kessoku::data
