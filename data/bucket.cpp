#include "data/bucket.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"

namespace kessoku::data {

namespace {

constexpr int64_t kSmallest = 32;
constexpr int64_t kLargest = 4096;

int64_t round_down(int64_t value, int64_t step) { return value / step * step; }

/// From square to 4:1: for each height the widest that keeps the area, then the same turned.
std::vector<Bucket> equal_area_table(int64_t resolution, int64_t step) {
  const int64_t area = resolution * resolution;
  std::vector<Bucket> table{{resolution, resolution}};
  for (int64_t side = resolution - step; side >= resolution / 2; side -= step) {
    const int64_t other = round_down(area / side, step);
    // 896x256 stands in EveryDream2's table of 512 though 1024x256 covers more.
    if (resolution == 512 && side == 256) table.insert(table.end(), {{896, 256}, {256, 896}});
    table.insert(table.end(), {{other, side}, {side, other}});
  }
  return table;
}

/// Small models see few pixels: every width from half to twice the resolution, finely stepped.
std::vector<Bucket> small_table(int64_t resolution) {
  constexpr int64_t kStep = 16;
  std::vector<Bucket> table{{resolution, resolution}};
  for (int64_t width = resolution / 2; width <= resolution * 2; width += kStep) {
    const int64_t height = round_down(resolution * resolution / width, kStep);
    if (width != resolution) table.push_back({width, height});
  }
  return table;
}

}  // namespace

std::string to_string(const Bucket& bucket) {
  return fmt::format("{}x{}", bucket.width, bucket.height);
}

std::vector<Bucket> bucket_table(int64_t resolution) {
  const bool small = resolution < 256;
  const int64_t step = small ? 32 : 64;  // half of a small resolution is a side too
  if (resolution < kSmallest || resolution > kLargest || resolution % step != 0) {
    const int64_t near = std::clamp(round_down(resolution + step / 2, step), kSmallest, kLargest);
    throw UsageError(fmt::format(
        "resolution {} has no bucket table: take a multiple of 64 from 256 to {} (or of 32 "
        "from {} on, for small models), e.g. {}",
        resolution, kLargest, kSmallest, near));
  }
  return small ? small_table(resolution) : equal_area_table(resolution, step);
}

size_t nearest_bucket(const std::vector<Bucket>& table, int64_t width, int64_t height) {
  const auto aspect = [](int64_t w, int64_t h) {
    return static_cast<double>(w) / static_cast<double>(h);
  };
  const double wanted = aspect(width, height);
  size_t best = 0;
  double least = HUGE_VAL;
  for (size_t i = 0; i < table.size(); ++i) {
    const double distance = std::abs(wanted - aspect(table[i].width, table[i].height));
    if (distance < least) {
      least = distance;
      best = i;
    }
  }
  return best;
}

}  // namespace kessoku::data
