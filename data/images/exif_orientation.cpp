#include "data/images/exif_orientation.h"

#include <ATen/ops/flip.h>

#include <vector>

namespace kessoku::data {

namespace {

Crop mirror(const Turn& turn, Crop crop, int64_t width, int64_t height) {
  const auto w = static_cast<int32_t>(width), h = static_cast<int32_t>(height);
  if (turn.mirror_x) crop = {w - crop.right, crop.top, w - crop.left, crop.bottom};
  if (turn.mirror_y) crop = {crop.left, h - crop.bottom, crop.right, h - crop.top};
  return crop;
}

}  // namespace

Turn Turn::from_exif(int orientation) {
  switch (orientation) {
    case 2:
      return {.mirror_x = true};
    case 3:
      return {.mirror_x = true, .mirror_y = true};
    case 4:
      return {.mirror_y = true};
    case 5:
      return {.transpose = true};
    case 6:
      return {.transpose = true, .mirror_x = true};
    case 7:
      return {.transpose = true, .mirror_x = true, .mirror_y = true};
    case 8:
      return {.transpose = true, .mirror_y = true};
    default:
      return {};
  }
}

Crop Turn::to_stored(Crop crop, int64_t width, int64_t height) const {
  crop = mirror(*this, crop, width, height);
  if (transpose) crop = {crop.top, crop.left, crop.bottom, crop.right};
  return crop;
}

Crop Turn::to_shown(Crop crop, int64_t width, int64_t height) const {
  if (transpose) crop = {crop.top, crop.left, crop.bottom, crop.right};
  return mirror(*this, crop, width, height);
}

at::Tensor Turn::apply(const at::Tensor& pixels) const {
  at::Tensor turned = transpose ? pixels.transpose(0, 1) : pixels;
  std::vector<int64_t> axes;
  if (mirror_y) axes.push_back(0);
  if (mirror_x) axes.push_back(1);
  if (!axes.empty()) turned = at::flip(turned, axes);
  return turned.contiguous();
}

}  // namespace kessoku::data
