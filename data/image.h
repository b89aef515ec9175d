#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/bucket.h"

namespace kessoku::data {

/// 8-bit sRGB, interleaved (H, W, 3).
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> pixels;
};

/// A box in source pixels, after the EXIF turn.
struct Crop {
  int32_t left, top, right, bottom;
};

struct FittedImage {
  Image image;           ///< exactly the bucket's size
  size_t bucket;         ///< index into the table
  int64_t source_width;  ///< after the EXIF turn
  int64_t source_height;
  Crop crop;
};

/// Decodes the whole image (a truncated or damaged file is an error), turns it by EXIF, converts it
/// to sRGB, puts alpha on white, chooses the nearest bucket, crops the centre to its aspect and
/// scales down with a good filter. Throws DataError naming the file and the decoder's reason. Safe
/// for concurrent use after `initialize_images`.
FittedImage fit_image(const std::filesystem::path& path, const std::vector<Bucket>& table);

/// The same from a file's content; `name` is what errors call it.
FittedImage fit_encoded_image(std::string_view encoded, const std::string& name,
                              const std::vector<Bucket>& table);

/// Decodes a whole image without changing its size: turned by EXIF, sRGB, alpha put on grey of
/// value `background`. Errors as fit_encoded_image.
Image decode_image(std::string_view encoded, const std::string& name, uint8_t background = 255);

/// The content of an image file. Throws DataError if it is larger than 1 GiB.
std::string read_image_file(const std::filesystem::path& path);

/// Starts libvips; once, before any other call, from main. `threads` bounds libvips' own workers.
void initialize_images(const char* program, int threads);

}  // namespace kessoku::data
