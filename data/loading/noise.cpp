#include "data/loading/noise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/random.h"

namespace kessoku::data {

namespace {

/// Where an enlarged pixel lies between two of the small image (pixel centers on one another, as
/// torch's align_corners = false).
struct Between {
  int64_t low, high;
  float share;  ///< of high
};

std::vector<Between> enlarge_axis(int64_t small, int64_t large) {
  const float scale = static_cast<float>(small) / static_cast<float>(large);
  std::vector<Between> places;
  for (int64_t i = 0; i < large; ++i) {
    const float at = std::max(0.0f, (static_cast<float>(i) + 0.5f) * scale - 0.5f);
    const int64_t low = std::min(static_cast<int64_t>(at), small - 1);
    places.push_back({low, std::min(low + 1, small - 1), at - static_cast<float>(low)});
  }
  return places;
}

/// Adds `small` (C, height, width), enlarged bilinearly and weighed, to `out` (C, h, w).
void add_enlarged(const std::vector<float>& small, int64_t height, int64_t width, float weight,
                  std::array<int64_t, 3> shape, std::span<float> out) {
  const std::vector<Between> rows = enlarge_axis(height, shape[1]);
  const std::vector<Between> columns = enlarge_axis(width, shape[2]);
  float* place = out.data();
  for (int64_t c = 0; c < shape[0]; ++c) {
    const float* channel = small.data() + c * height * width;
    for (const Between& y : rows) {
      const float* low = channel + y.low * width;
      const float* high = channel + y.high * width;
      for (const Between& x : columns) {
        const float above = std::lerp(low[x.low], low[x.high], x.share);
        const float below = std::lerp(high[x.low], high[x.high], x.share);
        *place++ += weight * std::lerp(above, below, y.share);
      }
    }
  }
}

void scale_to_unit_deviation(std::span<float> values) {
  const auto count = static_cast<double>(values.size());
  if (count < 2) return;
  double sum = 0, squares = 0;
  for (const float value : values) sum += value;
  for (const float value : values) squares += std::pow(value - sum / count, 2);
  const auto scale = static_cast<float>(1 / std::sqrt(squares / (count - 1)));
  for (float& value : values) value *= scale;
}

void add_offset(RandomStream random, double offset, int64_t channels, std::span<float> out) {
  std::vector<float> shifts(static_cast<size_t>(channels));
  random.fill_normal(shifts);
  const size_t area = out.size() / shifts.size();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] += static_cast<float>(offset) * shifts[i / area];
  }
}

void add_pyramid(RandomStream random, const NoiseOptions& options, std::array<int64_t, 3> shape,
                 std::span<float> out) {
  std::vector<float> normals;
  for (int64_t level = 0; level < options.pyramid_levels; ++level) {
    const double shrink = std::pow(2 + 2 * random.uniform(), static_cast<double>(level));
    const auto shrunk = [shrink](int64_t side) {
      return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(side) / shrink));
    };
    const int64_t height = shrunk(shape[1]), width = shrunk(shape[2]);
    normals.resize(static_cast<size_t>(shape[0] * height * width));
    random.fill_normal(normals);
    const double weight = std::pow(options.pyramid_discount, static_cast<double>(level));
    add_enlarged(normals, height, width, static_cast<float>(weight), shape, out);
    if (height == 1 || width == 1) break;
  }
  scale_to_unit_deviation(out);
}

}  // namespace

void fill_noise(uint64_t seed, uint64_t draw, std::array<int64_t, 3> shape,
                const NoiseOptions& options, std::span<float> out) {
  RandomStream(seed, Purpose::kNoise, draw).fill_normal(out);
  if (options.offset != 0) {
    add_offset({seed, Purpose::kNoiseOffset, draw}, options.offset, shape[0], out);
  }
  if (options.pyramid_levels > 0) {
    add_pyramid({seed, Purpose::kPyramidNoise, draw}, options, shape, out);
  }
}

}  // namespace kessoku::data
