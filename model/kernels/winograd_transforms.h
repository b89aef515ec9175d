#pragma once

#include <cstdint>

/// The transforms of Winograd's convolutions F(m × m, 3 × 3) (Lavin and Gray 2015, "Fast Algorithms
/// for Convolutional Neural Networks"), m = 2 or 4. A tile of m × m results takes (m + 2)² products
/// a channel, at "spots", in place of 9 m².
namespace kessoku::model {

constexpr int64_t winograd_spots(int64_t side) { return (side + 2) * (side + 2); }

/// The tiles of images (N, H, W, C) whose borders are padded with one 0.
struct WinogradTiles {
  int64_t side;  ///< m
  int64_t images, height, width;

  int64_t spots() const { return winograd_spots(side); }
  int64_t rows() const { return (height + side - 1) / side; }
  int64_t columns() const { return (width + side - 1) / side; }
  int64_t count() const { return images * rows() * columns(); }
};

/// Channels are taken so many at a time; all numbers of channels below are multiples of it.
constexpr int64_t kWinogradChannels = 16;

/// Values of `count` tiles (spots, count, channels), of which the first is tile `first`; from spot
/// to spot are `stride` values.
struct SpotValues {
  float* data;
  int64_t stride, channels, first, count;
};

/// Images (N, H, W, C), each tile's with its surroundings, to spots.
void winograd_from_input(const WinogradTiles& tiles, const float* images, SpotValues spots);
/// Spots to images, plus `bias` (C), which may be null.
void winograd_to_output(const WinogradTiles& tiles, SpotValues spots, const float* bias,
                        float* images);
/// The adjoint of that: gradients of images to those of spots.
void winograd_from_output_gradient(const WinogradTiles& tiles, const float* images,
                                   SpotValues spots);

/// Weights (out, in, 3, 3) as products need them. `transposed`: (spots, out, in) and turned by half
/// a turn, for the gradient of the input; else (spots, in, out).
struct WinogradWeights {
  int64_t side, in, out;
  bool transposed = false;

  int64_t spots() const { return winograd_spots(side); }
  /// The channels that lie side by side; one call each does kWinogradChannels of them.
  int64_t columns() const { return transposed ? in : out; }
  int64_t rows() const { return transposed ? out : in; }
};
void winograd_from_weights(const WinogradWeights& shape, const float* weights, int64_t column,
                           float* spots);
/// The adjoint, of what is not transposed: gradients (spots, in, out) to those of the weights.
void winograd_to_weight_gradient(const WinogradWeights& shape, const float* spots, int64_t column,
                                 float* weights);

/// The sums (C) over `pixels` (…, C).
void winograd_sum_pixels(const float* pixels, int64_t count, int64_t channels, int64_t first,
                         float* sums);

}  // namespace kessoku::model
