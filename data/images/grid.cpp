#include "data/images/grid.h"

#include <algorithm>
#include <cstring>
#include <vips/vips8>

namespace kessoku::data {

namespace {

constexpr int64_t kBorder = 2;
constexpr int64_t kLabelHeight = 42;  // three lines
constexpr const char* kFont = "sans 9";

/// Text as black on white, of exactly width × kLabelHeight. White where there is no font.
Image draw_label(const std::string& text, int64_t width) {
  Image label{width, kLabelHeight,
              std::vector<uint8_t>(static_cast<size_t>(width * kLabelHeight * 3), 255)};
  char* escaped = g_markup_escape_text(text.c_str(), static_cast<gssize>(text.size()));
  const std::unique_ptr<char, void (*)(void*)> keep(escaped, g_free);
  try {
    if (text.empty()) return label;
    const vips::VImage ink = vips::VImage::text(escaped, vips::VImage::option()
                                                             ->set("font", kFont)
                                                             ->set("width", static_cast<int>(width))
                                                             ->set("dpi", 90));
    size_t size = 0;
    const std::unique_ptr<void, void (*)(void*)> bytes(ink.write_to_memory(&size), g_free);
    const auto* coverage = static_cast<const uint8_t*>(bytes.get());
    for (int64_t y = 0; y < std::min<int64_t>(ink.height(), kLabelHeight); ++y) {
      for (int64_t x = 0; x < std::min<int64_t>(ink.width(), width); ++x) {
        std::memset(&label.pixels[static_cast<size_t>((y * width + x) * 3)],
                    255 - coverage[y * ink.width() + x], 3);
      }
    }
  } catch (const vips::VError&) {
    vips_error_clear();
  }
  return label;
}

void paste(const Image& image, Image& grid, int64_t left, int64_t top) {
  for (int64_t y = 0; y < image.height; ++y) {
    std::memcpy(&grid.pixels[static_cast<size_t>(((top + y) * grid.width + left) * 3)],
                &image.pixels[static_cast<size_t>(y * image.width * 3)],
                static_cast<size_t>(image.width * 3));
  }
}

}  // namespace

Image make_grid(const std::vector<Image>& images, size_t columns,
                const std::vector<std::string>& labels) {
  if (images.empty() || columns == 0) return {};
  int64_t width = 0, height = 0;  // of a cell
  for (const Image& image : images) {
    width = std::max(width, image.width);
    height = std::max(height, image.height);
  }
  const int64_t cell_height = height + (labels.empty() ? 0 : kLabelHeight);
  const auto across = static_cast<int64_t>(std::min(columns, images.size()));
  const int64_t down = (static_cast<int64_t>(images.size()) + across - 1) / across;
  Image grid{across * (width + kBorder) + kBorder, down * (cell_height + kBorder) + kBorder, {}};
  grid.pixels.assign(static_cast<size_t>(grid.width * grid.height * 3), 255);
  for (size_t i = 0; i < images.size(); ++i) {
    const int64_t left = static_cast<int64_t>(i) % across * (width + kBorder) + kBorder;
    const int64_t top = static_cast<int64_t>(i) / across * (cell_height + kBorder) + kBorder;
    const Image& image = images[i];
    paste(image, grid, left + (width - image.width) / 2, top + (height - image.height) / 2);
    if (i < labels.size()) paste(draw_label(labels[i], width), grid, left, top + height);
  }
  return grid;
}

}  // namespace kessoku::data
