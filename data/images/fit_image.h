#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/images/bucket.h"
#include "data/images/crop.h"
#include "data/images/image.h"
#include "data/images/image_file.h"
#include "data/images/image_limits.h"

namespace kessoku::data {

struct FitOptions {
  std::vector<Bucket> table;
  int64_t variants = 1;  ///< V: crops and mirror images, see data/images/crop.h
  Color background = kWhite;
  uint64_t most_pixels = kMostPixels;
};

struct FittedImage {
  size_t bucket;         ///< index into the table
  int64_t source_width;  ///< after the EXIF turn
  int64_t source_height;
  std::vector<Image> variants;  ///< V images of exactly the bucket's size
  std::vector<Crop> crops;      ///< by variant, in source pixels after the EXIF turn
};

/// Decodes the whole image (a truncated or damaged file is an error), turns it by EXIF, converts it
/// to sRGB, puts alpha on the background, crops it to the aspect of the nearest bucket (or of
/// `bucket`, an index into the table) and scales with a Lanczos filter. `seed` decides the crops of
/// variants from 2 on. `name` is what errors call the file. Throws DataError naming the file and
/// the decoder's reason, SystemError where memory or threads ran out. Safe for concurrent use after
/// `initialize_images`.
FittedImage fit_image(std::string_view encoded, const std::string& name, const FitOptions& options,
                      uint64_t seed = 0, std::optional<size_t> bucket = {});

/// The same from a file.
FittedImage fit_image(const std::filesystem::path& path, const FitOptions& options);

/// Of (H, W, 3) u8.
Image to_image(const at::Tensor& pixels);

}  // namespace kessoku::data
