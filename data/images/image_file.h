#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "data/images/color.h"
#include "data/images/exif_orientation.h"

namespace kessoku::data {

/// An encoded image of which only the header was read: JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or
/// HEIF, whatever its name says. Of an image of several frames or pages the first counts.
class ImageFile {
 public:
  /// Keeps a reference to `bytes`. Throws DataError, also where the header claims more than
  /// `most_pixels`, with the decoder's reason if no other thread decodes at the same time (libvips
  /// logs for all threads alike). Safe for concurrent use after `initialize_images`.
  ImageFile(std::string_view bytes, uint64_t most_pixels);
  ImageFile(const ImageFile&) = delete;
  ~ImageFile();

  /// Pixels as stored, before the EXIF turn.
  int64_t width() const;
  int64_t height() const;
  const Turn& turn() const;
  /// Whether `decode` can divide the sides while it decodes.
  bool can_shrink() const;

  /// The whole image as (H, W, 3) u8; alpha is put on `background`. A file that is damaged anywhere
  /// is an error. `shrink` as for decode_jpeg. Throws DataError.
  at::Tensor decode(int shrink, const Color& background) const;

  /// What `decode` gave, or parts of it scaled, in sRGB: a color profile that was left to the end,
  /// when there are fewer pixels, is applied.
  at::Tensor to_srgb(at::Tensor pixels) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
