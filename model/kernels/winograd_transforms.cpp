#include "model/kernels/winograd_transforms.h"

#include "model/kernels/vector_math.h"

namespace kessoku::model {

static_assert(kWinogradChannels == kLanes);

namespace {

/// F(2, 3) in one dimension.
struct Tile2 {
  static constexpr int64_t kSide = 2, kSpots = 4;
  KESSOKU_INLINE static void from_input(const Floats* x, Floats* spots) {
    spots[0] = x[0] - x[2];
    spots[1] = x[1] + x[2];
    spots[2] = x[2] - x[1];
    spots[3] = x[1] - x[3];
  }
  KESSOKU_INLINE static void to_output(const Floats* spots, Floats* y) {
    y[0] = spots[0] + spots[1] + spots[2];
    y[1] = spots[1] - spots[2] - spots[3];
  }
  KESSOKU_INLINE static void from_output_gradient(const Floats* y, Floats* spots) {
    spots[0] = y[0];
    spots[1] = y[0] + y[1];
    spots[2] = y[0] - y[1];
    spots[3] = -y[1];
  }
  KESSOKU_INLINE static void from_weights(const Floats* w, Floats* spots) {
    const Floats even = 0.5F * (w[0] + w[2]), odd = 0.5F * w[1];
    spots[0] = w[0];
    spots[1] = even + odd;
    spots[2] = even - odd;
    spots[3] = w[2];
  }
  KESSOKU_INLINE static void to_weight_gradient(const Floats* spots, Floats* w) {
    const Floats even = 0.5F * (spots[1] + spots[2]);
    w[0] = spots[0] + even;
    w[1] = 0.5F * (spots[1] - spots[2]);
    w[2] = even + spots[3];
  }
};

/// F(4, 3), by the points 0, ±1, ±2 and ∞.
struct Tile4 {
  static constexpr int64_t kSide = 4, kSpots = 6;
  KESSOKU_INLINE static void from_input(const Floats* x, Floats* spots) {
    const Floats even1 = x[4] - 4.0F * x[2], odd1 = x[3] - 4.0F * x[1];
    const Floats even2 = x[4] - x[2], odd2 = 2.0F * (x[3] - x[1]);
    spots[0] = 4.0F * x[0] - 5.0F * x[2] + x[4];
    spots[1] = even1 + odd1;
    spots[2] = even1 - odd1;
    spots[3] = even2 + odd2;
    spots[4] = even2 - odd2;
    spots[5] = 4.0F * x[1] - 5.0F * x[3] + x[5];
  }
  KESSOKU_INLINE static void to_output(const Floats* spots, Floats* y) {
    const Floats even1 = spots[1] + spots[2], odd1 = spots[1] - spots[2];
    const Floats even2 = spots[3] + spots[4], odd2 = spots[3] - spots[4];
    y[0] = spots[0] + even1 + even2;
    y[1] = odd1 + 2.0F * odd2;
    y[2] = even1 + 4.0F * even2;
    y[3] = odd1 + 8.0F * odd2 + spots[5];
  }
  KESSOKU_INLINE static void from_output_gradient(const Floats* y, Floats* spots) {
    const Floats even1 = y[0] + y[2], odd1 = y[1] + y[3];
    const Floats even2 = y[0] + 4.0F * y[2], odd2 = 2.0F * y[1] + 8.0F * y[3];
    spots[0] = y[0];
    spots[1] = even1 + odd1;
    spots[2] = even1 - odd1;
    spots[3] = even2 + odd2;
    spots[4] = even2 - odd2;
    spots[5] = y[3];
  }
  KESSOKU_INLINE static void from_weights(const Floats* w, Floats* spots) {
    const Floats even1 = (-1.0F / 6) * (w[0] + w[2]), odd1 = (-1.0F / 6) * w[1];
    const Floats even2 = (1.0F / 24) * w[0] + (1.0F / 6) * w[2], odd2 = (1.0F / 12) * w[1];
    spots[0] = 0.25F * w[0];
    spots[1] = even1 + odd1;
    spots[2] = even1 - odd1;
    spots[3] = even2 + odd2;
    spots[4] = even2 - odd2;
    spots[5] = w[2];
  }
  KESSOKU_INLINE static void to_weight_gradient(const Floats* spots, Floats* w) {
    const Floats even1 = (-1.0F / 6) * (spots[1] + spots[2]), even2 = spots[3] + spots[4];
    w[0] = 0.25F * spots[0] + even1 + (1.0F / 24) * even2;
    w[1] = (1.0F / 6) * (spots[2] - spots[1]) + (1.0F / 12) * (spots[3] - spots[4]);
    w[2] = even1 + (1.0F / 6) * even2 + spots[5];
  }
};

/// A matrix (From, From) to (To, To): `One` is done to its columns, then to its rows.
template <auto One, int64_t From, int64_t To>
KESSOKU_INLINE void transform(const Floats (&from)[From][From], Floats (&to)[To][To]) {
  Floats half[To][From];
  for (int64_t x = 0; x < From; ++x) {
    Floats column[From], result[To];
    for (int64_t y = 0; y < From; ++y) column[y] = from[y][x];
    One(column, result);
    for (int64_t y = 0; y < To; ++y) half[y][x] = result[y];
  }
  for (int64_t y = 0; y < To; ++y) One(half[y], to[y]);
}

/// Where a tile's results are.
struct Place {
  int64_t image, y, x;
};

KESSOKU_INLINE Place place_of(const WinogradTiles& tiles, int64_t tile) {
  const int64_t columns = tiles.columns(), of_image = tiles.rows() * columns;
  return {tile / of_image, tile % of_image / columns * tiles.side, tile % columns * tiles.side};
}

/// The pixels (Size, Size) from y, x on of a plane; beyond its edges they are 0.
template <int64_t Size>
KESSOKU_INLINE void load_pixels(const WinogradTiles& tiles, const float* plane, int64_t channels,
                                int64_t y, int64_t x, Floats (&pixels)[Size][Size]) {
  for (int64_t i = 0; i < Size; ++i) {
    for (int64_t j = 0; j < Size; ++j) {
      const bool inside = y + i >= 0 && y + i < tiles.height && x + j >= 0 && x + j < tiles.width;
      pixels[i][j] = inside ? load(plane + ((y + i) * tiles.width + x + j) * channels) : Floats{};
    }
  }
}

/// `One`: Tile::from_input, of tiles with their surroundings, or from_output_gradient.
template <typename Tile, int64_t Size, auto One>
KESSOKU_INLINE void to_spots(const WinogradTiles& tiles, const float* images,
                             const SpotValues& spots) {
  constexpr int64_t kEdge = (Size - Tile::kSide) / 2, kSpots = Tile::kSpots;
  const int64_t channels = spots.channels, image_size = tiles.height * tiles.width * channels;
  for (int64_t i = 0; i < spots.count; ++i) {
    const Place place = place_of(tiles, spots.first + i);
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Floats pixels[Size][Size], values[kSpots][kSpots];
      load_pixels(tiles, images + place.image * image_size + channel, channels, place.y - kEdge,
                  place.x - kEdge, pixels);
      transform<One>(pixels, values);
      float* to = spots.data + i * channels + channel;
      for (int64_t spot = 0; spot < kSpots * kSpots; ++spot)
        store(to + spot * spots.stride, values[spot / kSpots][spot % kSpots]);
    }
  }
}

template <typename Tile>
KESSOKU_INLINE void to_output(const WinogradTiles& tiles, const SpotValues& spots,
                              const float* bias, float* images) {
  constexpr int64_t kSide = Tile::kSide, kSpots = Tile::kSpots;
  const int64_t channels = spots.channels, image_size = tiles.height * tiles.width * channels;
  for (int64_t i = 0; i < spots.count; ++i) {
    const Place place = place_of(tiles, spots.first + i);
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Floats values[kSpots][kSpots], pixels[kSide][kSide];
      const float* from = spots.data + i * channels + channel;
      for (int64_t spot = 0; spot < kSpots * kSpots; ++spot)
        values[spot / kSpots][spot % kSpots] = load(from + spot * spots.stride);
      transform<Tile::to_output>(values, pixels);
      const Floats added = bias == nullptr ? Floats{} : load(bias + channel);
      float* to = images + place.image * image_size + channel;
      for (int64_t y = 0; y < kSide && place.y + y < tiles.height; ++y) {
        for (int64_t x = 0; x < kSide && place.x + x < tiles.width; ++x)
          store(to + ((place.y + y) * tiles.width + place.x + x) * channels, pixels[y][x] + added);
      }
    }
  }
}

template <typename Tile>
KESSOKU_INLINE void from_weights(const WinogradWeights& shape, const float* weights, int64_t column,
                                 float* spots) {
  constexpr int64_t kSpots = Tile::kSpots;
  const int64_t of_out = 9 * shape.in, of_in = 9;
  const int64_t of_row = shape.transposed ? of_out : of_in,
                of_column = shape.transposed ? of_in : of_out;
  const int64_t rows = shape.rows(), columns = shape.columns();
  for (int64_t row = 0; row < rows; ++row) {
    Floats kernel[3][3], values[kSpots][kSpots];
    const float* from = weights + row * of_row + column * of_column;
    for (int64_t tap = 0; tap < 9; ++tap) {
      Floats& value = kernel[tap / 3][tap % 3];
      for (int64_t lane = 0; lane < kLanes; ++lane)
        value[lane] = from[lane * of_column + (shape.transposed ? 8 - tap : tap)];
    }
    transform<Tile::from_weights>(kernel, values);
    for (int64_t spot = 0; spot < kSpots * kSpots; ++spot)
      store(spots + (spot * rows + row) * columns + column, values[spot / kSpots][spot % kSpots]);
  }
}

template <typename Tile>
KESSOKU_INLINE void to_weight_gradient(const WinogradWeights& shape, const float* spots,
                                       int64_t column, float* weights) {
  constexpr int64_t kSpots = Tile::kSpots;
  for (int64_t row = 0; row < shape.in; ++row) {
    Floats values[kSpots][kSpots], kernel[3][3];
    for (int64_t spot = 0; spot < kSpots * kSpots; ++spot) {
      values[spot / kSpots][spot % kSpots] =
          load(spots + (spot * shape.in + row) * shape.out + column);
    }
    transform<Tile::to_weight_gradient>(values, kernel);
    float* to = weights + 9 * (column * shape.in + row);
    for (int64_t tap = 0; tap < 9; ++tap) {
      for (int64_t lane = 0; lane < kLanes; ++lane)
        to[lane * 9 * shape.in + tap] = kernel[tap / 3][tap % 3][lane];
    }
  }
}

}  // namespace

KESSOKU_CLONES void winograd_from_input(const WinogradTiles& tiles, const float* images,
                                        SpotValues spots) {
  if (tiles.side == 2) {
    to_spots<Tile2, 4, Tile2::from_input>(tiles, images, spots);
  } else {
    to_spots<Tile4, 6, Tile4::from_input>(tiles, images, spots);
  }
}

KESSOKU_CLONES void winograd_from_output_gradient(const WinogradTiles& tiles, const float* images,
                                                  SpotValues spots) {
  if (tiles.side == 2) {
    to_spots<Tile2, 2, Tile2::from_output_gradient>(tiles, images, spots);
  } else {
    to_spots<Tile4, 4, Tile4::from_output_gradient>(tiles, images, spots);
  }
}

KESSOKU_CLONES void winograd_to_output(const WinogradTiles& tiles, SpotValues spots,
                                       const float* bias, float* images) {
  if (tiles.side == 2) {
    to_output<Tile2>(tiles, spots, bias, images);
  } else {
    to_output<Tile4>(tiles, spots, bias, images);
  }
}

KESSOKU_CLONES void winograd_from_weights(const WinogradWeights& shape, const float* weights,
                                          int64_t column, float* spots) {
  if (shape.side == 2) {
    from_weights<Tile2>(shape, weights, column, spots);
  } else {
    from_weights<Tile4>(shape, weights, column, spots);
  }
}

KESSOKU_CLONES void winograd_to_weight_gradient(const WinogradWeights& shape, const float* spots,
                                                int64_t column, float* weights) {
  if (shape.side == 2) {
    to_weight_gradient<Tile2>(shape, spots, column, weights);
  } else {
    to_weight_gradient<Tile4>(shape, spots, column, weights);
  }
}

KESSOKU_CLONES void winograd_sum_pixels(const float* pixels, int64_t count, int64_t channels,
                                        int64_t first, float* sums) {
  Floats parts[4] = {};
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int64_t part = 0; part < 4; ++part)
      parts[part] += load(pixels + (i + part) * channels + first);
  }
  for (; i < count; ++i) parts[0] += load(pixels + i * channels + first);
  store(sums + first, (parts[0] + parts[1]) + (parts[2] + parts[3]));
}

}  // namespace kessoku::model
