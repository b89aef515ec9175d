#include "data/image.h"

#include <fmt/format.h>

#include <cmath>
#include <vips/vips8>
// After vips8, which brings what it needs.
#include <vips/vector.h>

#include "base/error.h"
#include "base/file.h"

namespace kessoku::data {

using vips::VImage;
using vips::VOption;

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 30;
constexpr int64_t kMostPixels = int64_t{512} << 20;  // a decompression bomb beyond

/// The loader is chosen here by the first bytes, not by libvips: some of its other loaders run
/// interpreters.
VImage open_image(std::string_view bytes) {
  VipsBlob* blob = vips_blob_new(nullptr, bytes.data(), bytes.size());
  const std::unique_ptr<VipsBlob, void (*)(VipsBlob*)> keep(
      blob, [](VipsBlob* b) { vips_area_unref(VIPS_AREA(b)); });
  // Random access decodes all of the file before the first pixel is used: damage anywhere is
  // noticed.
  VOption* options =
      VImage::option()->set("access", VIPS_ACCESS_RANDOM)->set("fail_on", VIPS_FAIL_ON_ERROR);
  const auto starts = [&](std::string_view magic) { return bytes.starts_with(magic); };
  if (starts("\xFF\xD8\xFF")) return VImage::jpegload_buffer(blob, options);
  if (starts("\x89PNG")) return VImage::pngload_buffer(blob, options);
  if (starts("RIFF") && bytes.substr(8, 4) == "WEBP") return VImage::webpload_buffer(blob, options);
  if (starts("GIF8")) return VImage::gifload_buffer(blob, options);
  if (starts("BM")) return VImage::magickload_buffer(blob, options);
  delete options;
  throw DataError(bytes.empty() ? "the file is empty" : "not a JPEG, PNG, WebP, GIF or BMP file");
}

VImage to_srgb(VImage image, uint8_t background) {
  if (image.has_alpha()) {
    const double unit = image.format() == VIPS_FORMAT_USHORT ? 257 : 1;
    const std::vector<double> grey{background * unit};
    image = image.flatten(VImage::option()->set("background", grey));
  }
  if (image.get_typeof(VIPS_META_ICC_NAME) != 0) {
    try {
      image = image.icc_transform("srgb", VImage::option()->set("embedded", true)->set("depth", 8));
    } catch (const vips::VError&) {
      vips_error_clear();  // a broken profile: the numbers are most likely sRGB
    }
  }
  image = image.colourspace(VIPS_INTERPRETATION_sRGB);
  if (image.bands() != 3) throw DataError(fmt::format("{} colour channels", image.bands()));
  return image.cast(VIPS_FORMAT_UCHAR);
}

/// The largest centred box of the bucket's aspect.
Crop centre_crop(int64_t width, int64_t height, const Bucket& bucket) {
  int64_t w = width, h = height;
  if (width * bucket.height > height * bucket.width) {
    w = std::clamp<int64_t>(std::llround(static_cast<double>(height * bucket.width) /
                                         static_cast<double>(bucket.height)),
                            1, width);
  } else {
    h = std::clamp<int64_t>(std::llround(static_cast<double>(width * bucket.height) /
                                         static_cast<double>(bucket.width)),
                            1, height);
  }
  const int64_t left = (width - w) / 2, top = (height - h) / 2;
  return {static_cast<int32_t>(left), static_cast<int32_t>(top), static_cast<int32_t>(left + w),
          static_cast<int32_t>(top + h)};
}

Image to_memory(const VImage& image) {
  size_t size = 0;
  const std::unique_ptr<void, void (*)(void*)> bytes(image.write_to_memory(&size), g_free);
  Image result{image.width(), image.height(), {}};
  const auto* first = static_cast<const uint8_t*>(bytes.get());
  result.pixels.assign(first, first + size);
  return result;
}

VImage decode(std::string_view encoded, uint8_t background) {
  const VImage image = open_image(encoded);
  if (int64_t{image.width()} * image.height() > kMostPixels) {
    throw DataError(fmt::format("{}x{} pixels, more than the {} million that are taken",
                                image.width(), image.height(), kMostPixels >> 20));
  }
  return to_srgb(image.autorot(), background);
}

FittedImage fit(std::string_view encoded, const std::vector<Bucket>& table) {
  VImage image = decode(encoded, 255);
  FittedImage fitted{.image = {},
                     .bucket = 0,
                     .source_width = image.width(),
                     .source_height = image.height(),
                     .crop = {}};
  fitted.bucket = nearest_bucket(table, fitted.source_width, fitted.source_height);
  const Bucket& bucket = table[fitted.bucket];
  const Crop crop = fitted.crop = centre_crop(fitted.source_width, fitted.source_height, bucket);
  const int width = crop.right - crop.left, height = crop.bottom - crop.top;
  image = image.extract_area(crop.left, crop.top, width, height);
  if (width != bucket.width || height != bucket.height) {
    image = image.resize(static_cast<double>(bucket.width) / width,
                         VImage::option()
                             ->set("vscale", static_cast<double>(bucket.height) / height)
                             ->set("kernel", VIPS_KERNEL_LANCZOS3));
  }
  if (image.width() != bucket.width || image.height() != bucket.height) {
    throw DataError(fmt::format("could not be scaled to {}", to_string(bucket)));
  }
  fitted.image = to_memory(image);
  return fitted;
}

/// libvips' log as one line.
std::string reason(const vips::VError& error) {
  std::string text = error.what();
  vips_error_clear();
  text = text.substr(0, std::min(text.find('\n'), size_t{200}));
  return text.empty() ? "cannot be decoded" : text;
}

/// Runs `work`; its errors name the image.
template <typename Work>
auto naming(const std::string& name, const Work& work) {
  try {
    return work();
  } catch (const vips::VError& error) {
    throw DataError(fmt::format("{}: {}", name, reason(error)));
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", name, error.what()));
  }
}

}  // namespace

FittedImage fit_encoded_image(std::string_view encoded, const std::string& name,
                              const std::vector<Bucket>& table) {
  return naming(name, [&] { return fit(encoded, table); });
}

Image decode_image(std::string_view encoded, const std::string& name, uint8_t background) {
  return naming(name, [&] { return to_memory(decode(encoded, background)); });
}

FittedImage fit_image(const std::filesystem::path& path, const std::vector<Bucket>& table) {
  return fit_encoded_image(read_image_file(path), path.string(), table);
}

std::string read_image_file(const std::filesystem::path& path) {
  return read_file(path, kMostBytes);
}

void initialize_images(const char* program, int threads) {
  if (VIPS_INIT(program) != 0) throw Error(ExitCode::kInternal, "libvips does not start");
  // What matters of libvips' warnings comes back as an error with the file's name.
  g_log_set_handler(
      "VIPS", G_LOG_LEVEL_WARNING, [](const char*, GLogLevelFlags, const char*, void*) {}, nullptr);
  // Orc frees the code that it compiles without a lock (seen with 0.4.33): two images at once could
  // crash. Without it pixels are also the same on every processor.
  vips_vector_set_enabled(FALSE);
  vips_concurrency_set(threads);
  vips_cache_set_max(0);  // no operation is asked for twice
}

}  // namespace kessoku::data
