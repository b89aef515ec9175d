#include "data/loading/mask.h"

#include <algorithm>

#include "base/random.h"

namespace kessoku::data {

namespace {

struct Point {
  double x, y;
};

class Canvas {
 public:
  Canvas(int64_t height, int64_t width, std::span<float> pixels)
      : height_(height), width_(width), pixels_(pixels) {}

  double height() const { return static_cast<double>(height_); }
  double width() const { return static_cast<double>(width_); }

  /// Paints the pixels between two corners whose centers `covers`.
  template <typename Covers>
  void paint(Point low, Point high, const Covers& covers) {
    const auto first = [](double at) { return std::max<int64_t>(0, static_cast<int64_t>(at)); };
    const int64_t bottom = std::min(height_, static_cast<int64_t>(high.y) + 1);
    const int64_t right = std::min(width_, static_cast<int64_t>(high.x) + 1);
    for (int64_t y = first(low.y); y < bottom; ++y) {
      for (int64_t x = first(low.x); x < right; ++x) {
        const Point center{static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5};
        if (covers(center)) pixels_[static_cast<size_t>(y * width_ + x)] = 1;
      }
    }
  }

 private:
  int64_t height_, width_;
  std::span<float> pixels_;
};

double between(RandomStream& random, double low, double high) {
  return low + (high - low) * random.uniform();
}

/// A rectangle of the image, each side an eighth to three quarters of the image's.
std::pair<Point, Point> draw_box(RandomStream& random, const Canvas& canvas) {
  const double width = canvas.width() * between(random, 0.125, 0.75);
  const double height = canvas.height() * between(random, 0.125, 0.75);
  const Point low{between(random, 0, canvas.width() - width),
                  between(random, 0, canvas.height() - height)};
  return {low, {low.x + width, low.y + height}};
}

void paint_rectangle(RandomStream& random, Canvas& canvas) {
  const auto [low, high] = draw_box(random, canvas);
  canvas.paint(low, high, [low = low, high = high](Point p) {
    return p.x >= low.x && p.x <= high.x && p.y >= low.y && p.y <= high.y;
  });
}

void paint_ellipse(RandomStream& random, Canvas& canvas) {
  const auto [low, high] = draw_box(random, canvas);
  const Point center{(low.x + high.x) / 2, (low.y + high.y) / 2};
  const Point radius{(high.x - low.x) / 2, (high.y - low.y) / 2};
  canvas.paint(low, high, [=](Point p) {
    const double x = (p.x - center.x) / radius.x, y = (p.y - center.y) / radius.y;
    return x * x + y * y <= 1;
  });
}

/// A round brush, drawn from `from` to `to`.
void paint_line(Canvas& canvas, Point from, Point to, double radius) {
  const Point way{to.x - from.x, to.y - from.y};
  const double length = way.x * way.x + way.y * way.y;
  const auto covers = [=](Point p) {
    const double along = ((p.x - from.x) * way.x + (p.y - from.y) * way.y) / length;
    const double share = length > 0 ? std::clamp(along, 0.0, 1.0) : 0;
    const double x = p.x - from.x - share * way.x, y = p.y - from.y - share * way.y;
    return x * x + y * y <= radius * radius;
  };
  canvas.paint({std::min(from.x, to.x) - radius, std::min(from.y, to.y) - radius},
               {std::max(from.x, to.x) + radius, std::max(from.y, to.y) + radius}, covers);
}

void paint_stroke(RandomStream& random, Canvas& canvas) {
  const double side = std::min(canvas.width(), canvas.height());
  const double radius = side * between(random, 0.0625, 0.15);
  Point at{canvas.width() * random.uniform(), canvas.height() * random.uniform()};
  for (uint64_t turns = 2 + random.below(7); turns > 0; --turns) {
    const double x = at.x + side * between(random, -0.5, 0.5);
    const double y = at.y + side * between(random, -0.5, 0.5);
    const Point to{std::clamp(x, 0.0, canvas.width()), std::clamp(y, 0.0, canvas.height())};
    paint_line(canvas, at, to, radius);
    at = to;
  }
}

}  // namespace

void fill_mask(uint64_t seed, uint64_t draw, int64_t height, int64_t width,
               const MaskOptions& options, std::span<float> out) {
  RandomStream random(seed, Purpose::kMask, draw);
  const bool whole = random.uniform() < options.whole;
  std::ranges::fill(out, whole ? 1.0f : 0.0f);
  if (whole) return;
  Canvas canvas(height, width, out);
  constexpr void (*kKinds[])(RandomStream&, Canvas&) = {paint_rectangle, paint_ellipse,
                                                        paint_stroke};
  const auto paint = kKinds[random.below(std::size(kKinds))];
  for (uint64_t count = 1 + random.below(3); count > 0; --count) paint(random, canvas);
}

}  // namespace kessoku::data
