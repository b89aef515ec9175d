#include "data/images/png.h"

#include <fmt/format.h>

#include <stdexcept>
#include <vips/vips8>

#include "base/file.h"
#include "base/system_error.h"
#include "base/text_file.h"
#include "data/images/png_chunk.h"
#include "data/images/vips_error.h"

namespace kessoku::data {

using vips::VImage;

namespace {

/// An iTXt chunk: PNG's only text that is UTF-8. libvips writes Latin-1 ones, which mangle other
/// scripts.
std::string text_chunk(const std::string& key, const std::string& text) {
  if (key.empty() || key.size() > 79 || text.size() > (16u << 20)) {
    throw std::invalid_argument("write_png: keys have 1 to 79 characters, texts at most 16 MiB");
  }
  std::string valid = to_utf8(text);
  std::erase(valid, '\0');  // which other readers take for an end
  return png_chunk("iTXt" + key + std::string(5, '\0') + valid);  // uncompressed, no language
}

std::string encode(const Image& image) {
  try {
    const VImage view =
        VImage::new_from_memory(const_cast<uint8_t*>(image.pixels.data()), image.pixels.size(),
                                static_cast<int>(image.width), static_cast<int>(image.height), 3,
                                VIPS_FORMAT_UCHAR)
            .copy(VImage::option()->set("interpretation", VIPS_INTERPRETATION_sRGB));
    VipsBlob* blob = view.pngsave_buffer();
    size_t size = 0;
    const auto* data = static_cast<const char*>(vips_blob_get(blob, &size));
    std::string png(data, size);
    vips_area_unref(VIPS_AREA(blob));
    return png;
  } catch (const vips::VError& error) {
    throw SystemError("cannot make a PNG: " + describe(error));
  }
}

}  // namespace

std::string encode_png(const Image& image, const PngText& text) {
  if (image.pixels.size() != static_cast<size_t>(image.width * image.height * 3)) {
    throw std::invalid_argument("encode_png: pixels do not fit width and height");
  }
  std::string png = encode(image);
  std::string chunks;
  for (const auto& [key, value] : text) chunks += text_chunk(key, value);
  constexpr size_t kAfterHeader = 8 + 25;  // signature, IHDR
  png.insert(kAfterHeader, chunks);
  return png;
}

void write_png(const std::filesystem::path& path, const Image& image, const PngText& text) {
  write_file_atomically(path, encode_png(image, text));
}

}  // namespace kessoku::data
