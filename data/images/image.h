#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kessoku::data {

/// 8-bit sRGB, interleaved (H, W, 3).
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> pixels;
};

/// Decodes a whole image without changing its size: turned by EXIF, sRGB, alpha put on gray of
/// value `background`. `name` is what errors call it. Throws DataError naming it and the decoder's
/// reason. Safe for concurrent use after `initialize_images`.
Image decode_image(std::string_view encoded, const std::string& name, uint8_t background = 255);

/// The content of an image file. Throws DataError if it is larger than 1 GiB.
std::string read_image_file(const std::filesystem::path& path);

/// Starts libvips; once, before any other call, from main. `threads` bounds libvips' own workers.
void initialize_images(const char* program, int threads);

}  // namespace kessoku::data
