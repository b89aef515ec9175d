#include "data/images/crop.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace kessoku::data {

namespace {

constexpr double kMostJitter = 0.02;

/// Width or height left when the other side keeps its length.
int64_t fitting(int64_t kept, int64_t numerator, int64_t denominator, int64_t most) {
  const double length = static_cast<double>(kept * numerator) / static_cast<double>(denominator);
  return std::clamp<int64_t>(std::llround(length), 1, most);
}

/// In [0, over], most often over / 2.
int64_t triangular(int64_t over, double u) {
  const double place = u < 0.5 ? std::sqrt(u / 2) : 1 - std::sqrt((1 - u) / 2);
  return std::clamp<int64_t>(static_cast<int64_t>(place * static_cast<double>(over)), 0, over);
}

Crop jitter(int64_t width, int64_t height, const Bucket& bucket, RandomStream& random) {
  const auto surplus = [](int64_t side, int64_t wanted) {
    return static_cast<double>(side - wanted) / static_cast<double>(wanted);
  };
  const double share = std::clamp(
      std::min(surplus(width, bucket.width), surplus(height, bucket.height)), 0.0, kMostJitter);
  const double most = std::floor(static_cast<double>(std::min(width, height)) * share);
  const auto cut = [&] { return static_cast<int32_t>(std::lround(random.uniform() * most)); };
  Crop crop{cut(), cut(), 0, 0};
  crop.right = static_cast<int32_t>(width) - cut();
  crop.bottom = static_cast<int32_t>(height) - cut();
  return crop;
}

}  // namespace

Crop choose_crop(int64_t width, int64_t height, const Bucket& bucket, uint64_t seed,
                 int64_t number) {
  RandomStream random(seed, Purpose::kCrop, static_cast<uint64_t>(number));
  Crop crop{0, 0, static_cast<int32_t>(width), static_cast<int32_t>(height)};
  if (number > 0) crop = jitter(width, height, bucket, random);
  const auto place = [&](int64_t over) {
    return static_cast<int32_t>(number == 0 ? over / 2 : triangular(over, random.uniform()));
  };
  if (crop.width() * bucket.height > crop.height() * bucket.width) {
    const int64_t w = fitting(crop.height(), bucket.width, bucket.height, crop.width());
    crop.left += place(crop.width() - w);
    crop.right = crop.left + static_cast<int32_t>(w);
  } else {
    const int64_t h = fitting(crop.width(), bucket.height, bucket.width, crop.height());
    crop.top += place(crop.height() - h);
    crop.bottom = crop.top + static_cast<int32_t>(h);
  }
  return crop;
}

}  // namespace kessoku::data
