#include "data/images/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <stdexcept>

namespace kessoku::data {

namespace {

constexpr double kLobes = 3;
constexpr int kPrecision = 22;  // bits behind the point of a weight

/// The source pixels that make one target pixel.
struct Window {
  int64_t first;
  std::vector<int32_t> weights;
};

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return std::abs(x) < kLobes ? sinc(x) * sinc(x / kLobes) : 0; }

/// A window for each of `to` target pixels over `from` source pixels.
std::vector<Window> windows(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double widening = std::max(scale, 1.0);
  const double reach = kLobes * widening;
  std::vector<Window> windows(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - reach + 0.5));
    const int64_t last = std::min(from, static_cast<int64_t>(center + reach + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t x = first; x < last; ++x) {
      weights.push_back(lanczos((static_cast<double>(x) - center + 0.5) / widening));
      sum += weights.back();
    }
    Window& window = windows[static_cast<size_t>(i)];
    window.first = first;
    for (const double weight : weights) {
      const double scaled = (sum != 0 ? weight / sum : weight) * (1 << kPrecision);
      window.weights.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  return windows;
}

/// Sums `window` over bytes that lie `stride` apart.
uint8_t weigh(const uint8_t* bytes, int64_t stride, const Window& window) {
  int32_t sum = 1 << (kPrecision - 1);
  bytes += window.first * stride;
  for (const int32_t weight : window.weights) {
    sum += *bytes * weight;
    bytes += stride;
  }
  return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255));
}

Image resize_rows(const Image& image, int64_t width) {
  Image result{width, image.height,
               std::vector<uint8_t>(static_cast<size_t>(width * image.height * 3))};
  const std::vector<Window> columns = windows(image.width, width);
  uint8_t* out = result.pixels.data();
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* row = &image.pixels[static_cast<size_t>(y * image.width * 3)];
    for (const Window& window : columns) {
      for (int channel = 0; channel < 3; ++channel) *out++ = weigh(row + channel, 3, window);
    }
  }
  return result;
}

Image resize_columns(const Image& image, int64_t height) {
  Image result{image.width, height,
               std::vector<uint8_t>(static_cast<size_t>(image.width * height * 3))};
  const int64_t stride = image.width * 3;
  uint8_t* out = result.pixels.data();
  for (const Window& window : windows(image.height, height)) {
    for (int64_t x = 0; x < stride; ++x) *out++ = weigh(image.pixels.data() + x, stride, window);
  }
  return result;
}

}  // namespace

Image resize_lanczos(const Image& image, int64_t width, int64_t height) {
  Image result = width == image.width ? image : resize_rows(image, width);
  return height == image.height ? result : resize_columns(result, height);
}

Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height) {
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height)
    throw std::invalid_argument("crop: beyond the image");
  Image part{width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
  for (int64_t y = 0; y < height; ++y) {
    std::memcpy(&part.pixels[static_cast<size_t>(y * width * 3)],
                &image.pixels[static_cast<size_t>(((top + y) * image.width + left) * 3)],
                static_cast<size_t>(width * 3));
  }
  return part;
}

std::vector<uint8_t> brightness(const Image& image) {
  std::vector<uint8_t> gray;
  gray.reserve(image.pixels.size() / 3);
  for (size_t i = 0; i + 2 < image.pixels.size(); i += 3) {
    const uint32_t red = image.pixels[i], green = image.pixels[i + 1], blue = image.pixels[i + 2];
    gray.push_back(
        static_cast<uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16));
  }
  return gray;
}

}  // namespace kessoku::data
