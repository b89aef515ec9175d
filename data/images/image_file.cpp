#include "data/images/image_file.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <cmath>
#include <vips/vips8>

#include "base/mistaken_file.h"
#include "base/system_error.h"
#include "data/images/jpeg.h"
#include "data/images/vips_error.h"

namespace kessoku::data {

using vips::VImage;
using vips::VOption;

namespace {

/// libvips' errors as ours.
template <typename Work>
auto guarded(const Work& work) {
  try {
    return work();
  } catch (const vips::VError& error) {
    const std::string reason = describe(error);
    const std::string why = reason.empty() ? "cannot be decoded" : "cannot be decoded: " + reason;
    if (is_machine_failure(why)) throw SystemError(why);
    throw DataError(why);
  }
}

/// Whether `magic` stands at `place`.
bool has(std::string_view bytes, size_t place, std::string_view magic) {
  return bytes.size() >= place && bytes.substr(place).starts_with(magic);
}

bool is_heif(std::string_view bytes) {
  if (!has(bytes, 4, "ftyp") || bytes.size() < 12) return false;
  constexpr std::string_view kBrands[] = {"avif", "avis", "heic", "heix", "heim",
                                          "heis", "hevc", "mif1", "msf1"};
  return std::ranges::find(kBrands, bytes.substr(8, 4)) != std::end(kBrands);
}

/// The loader is chosen here by the first bytes, not by libvips: some of its other loaders run
/// interpreters. Reads the header only.
VImage open_image(std::string_view bytes) {
  VipsBlob* blob = vips_blob_new(nullptr, bytes.data(), bytes.size());
  const std::unique_ptr<VipsBlob, void (*)(VipsBlob*)> keep(
      blob, [](VipsBlob* b) { vips_area_unref(VIPS_AREA(b)); });
  // Random access decodes all of the file before the first pixel is used: damage anywhere is
  // noticed.
  VOption* options =
      VImage::option()->set("access", VIPS_ACCESS_RANDOM)->set("fail_on", VIPS_FAIL_ON_ERROR);
  const auto starts = [&](std::string_view magic) { return has(bytes, 0, magic); };
  if (starts("\xFF\xD8\xFF")) return VImage::jpegload_buffer(blob, options);
  if (starts("\x89PNG")) return VImage::pngload_buffer(blob, options);
  if (starts("RIFF") && has(bytes, 8, "WEBP")) return VImage::webpload_buffer(blob, options);
  if (starts("GIF8")) return VImage::gifload_buffer(blob, options);
  if (starts("BM")) return VImage::magickload_buffer(blob, options);
  if (starts({"II*\0", 4}) || starts({"MM\0*", 4}) || starts({"II+\0", 4}) || starts({"MM\0+", 4}))
    return VImage::tiffload_buffer(blob, options);
  if (is_heif(bytes)) return VImage::heifload_buffer(blob, options);
  delete options;
  const std::string mistaken =
      explain_mistaken({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  throw DataError(!mistaken.empty() ? mistaken
                                    : "not a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIF file");
}

/// Whether there is a color profile, and it is one of numbers like these: by its header
/// (ICC.1:2022, 7.2), a device's, of the image's color space. libvips takes any of as many
/// channels.
bool has_profile(const VImage& image) {
  if (image.get_typeof(VIPS_META_ICC_NAME) == 0) return false;
  size_t size = 0;
  const auto* profile = static_cast<const char*>(image.get_blob(VIPS_META_ICC_NAME, &size));
  if (size < 128) return false;
  const std::string_view device(profile + 12, 4), space(profile + 16, 4);
  if (device == "link" || device == "abst" || device == "nmcl") return false;
  if (image.interpretation() == VIPS_INTERPRETATION_LAB ||
      image.interpretation() == VIPS_INTERPRETATION_LABS)
    return false;  // says itself what its numbers are
  const int colors = image.bands() - (image.has_alpha() ? 1 : 0);
  return space == (colors == 1 ? "GRAY" : colors == 4 ? "CMYK" : "RGB ");
}

/// Numbers of a TIFF that are no whole ones, as 16 bits: 0…1 is what programs write, or 0…255.
/// Throws DataError for others, which nobody could guess the white of.
VImage from_floats(const VImage& image) {
  const double least = image.min(), most = image.max();
  constexpr double kOvershoot = 1;  // of a filter that sharpened it
  if (!std::isfinite(least) || !std::isfinite(most) || least < -kOvershoot ||
      most > 255 + kOvershoot)
    throw DataError(
        fmt::format("holds numbers from {:.4g} to {:.4g}, not 0 to 1 or 0 to 255; save "
                    "it with 8 or 16 bits a channel",
                    least, most));
  const double white = most <= 1 + kOvershoot ? 1 : 255;
  const VImage scaled = image.linear(65535 / white, 0.5).cast(VIPS_FORMAT_USHORT);
  const int colors = image.bands() - (image.has_alpha() ? 1 : 0);
  return scaled.copy(VImage::option()->set(
      "interpretation", colors == 1 ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16));
}

/// 8 or 16 bits a channel, whatever the file has.
VImage in_whole_numbers(const VImage& image) {
  switch (image.format()) {
    case VIPS_FORMAT_UCHAR:
    case VIPS_FORMAT_USHORT:
      return image;
    case VIPS_FORMAT_FLOAT:
    case VIPS_FORMAT_DOUBLE:
      if (image.interpretation() == VIPS_INTERPRETATION_LAB) return image;
      return from_floats(image);
    default:
      if (image.interpretation() == VIPS_INTERPRETATION_LABS) return image;
      throw DataError(fmt::format("channels of {} bits, or with a sign; save it with 8 or 16 bits",
                                  8 * vips_format_sizeof(image.format())));
  }
}

/// By the embedded profile if there is one that fits. To be called under `guarded`.
VImage to_srgb_bytes(VImage image) {
  if (has_profile(image)) {
    try {
      // The one intent that all profiles have.
      image = image.icc_transform("srgb", VImage::option()
                                              ->set("embedded", true)
                                              ->set("depth", 8)
                                              ->set("intent", VIPS_INTENT_PERCEPTUAL));
    } catch (const vips::VError& error) {
      if (is_machine_failure(error)) throw;
      vips_error_clear();  // a broken profile: the numbers are most likely sRGB
    }
  }
  image = image.colourspace(VIPS_INTERPRETATION_sRGB);
  if (image.bands() != 3) throw DataError(fmt::format("{} color channels", image.bands()));
  return image.cast(VIPS_FORMAT_UCHAR);
}

VImage flatten(const VImage& stored, const Color& background) {
  const VImage image = in_whole_numbers(stored);
  if (!image.has_alpha()) return to_srgb_bytes(image);
  const int last = image.bands() - 1;
  VImage alpha = image.extract_band(last);
  const double opaque = image.interpretation() == VIPS_INTERPRETATION_RGB16 ||
                                image.interpretation() == VIPS_INTERPRETATION_GREY16
                            ? 65535
                            : 255;
  alpha = alpha.linear(255 / opaque, 0, VImage::option()->set("uchar", true));
  const VImage color = to_srgb_bytes(image.extract_band(0, VImage::option()->set("n", last)));
  const std::vector<double> behind(background.begin(), background.end());
  return color.bandjoin(alpha).flatten(VImage::option()->set("background", behind));
}

at::Tensor to_tensor(const VImage& image) {
  const at::Tensor pixels = at::empty({image.height(), image.width(), 3}, at::kByte);
  VImage memory = VImage::new_from_memory(pixels.data_ptr(), pixels.nbytes(), image.width(),
                                          image.height(), 3, VIPS_FORMAT_UCHAR);
  image.write(memory);
  return pixels;
}

VImage from_tensor(const at::Tensor& pixels) {
  const VImage image =
      VImage::new_from_memory(pixels.data_ptr(), pixels.nbytes(), static_cast<int>(pixels.size(1)),
                              static_cast<int>(pixels.size(0)), 3, VIPS_FORMAT_UCHAR);
  return image.copy(VImage::option()->set("interpretation", VIPS_INTERPRETATION_sRGB));
}

}  // namespace

struct ImageFile::Impl {
  std::string_view bytes;
  VImage image;
  Turn turn;
  bool plain_jpeg = false;  ///< decode_jpeg takes it
};

ImageFile::ImageFile(std::string_view bytes, uint64_t most_pixels)
    : impl_(std::make_unique<Impl>()) {
  impl_->bytes = bytes;
  vips_error_clear();  // all threads have one log: what is there is not about this image
  guarded([&] { impl_->image = open_image(bytes); });
  VImage& image = impl_->image;
  const auto w = static_cast<uint64_t>(image.width()), h = static_cast<uint64_t>(image.height());
  if (w * h > most_pixels) {
    throw DataError(fmt::format("{}x{} pixels are more than the {} that are taken (--max-pixels)",
                                w, h, most_pixels));
  }
  if (image.get_typeof(VIPS_META_ORIENTATION) != 0) {
    impl_->turn = Turn::from_exif(guarded([&] { return image.get_int(VIPS_META_ORIENTATION); }));
  }
  impl_->plain_jpeg =
      bytes.starts_with("\xFF\xD8\xFF") && (image.bands() == 3 || image.bands() == 1);
}

ImageFile::~ImageFile() = default;

int64_t ImageFile::width() const { return impl_->image.width(); }
int64_t ImageFile::height() const { return impl_->image.height(); }
const Turn& ImageFile::turn() const { return impl_->turn; }
bool ImageFile::can_shrink() const { return impl_->plain_jpeg; }

at::Tensor ImageFile::decode(int shrink, const Color& background) const {
  if (impl_->plain_jpeg) return decode_jpeg(impl_->bytes, width(), height(), shrink);
  return guarded([&] { return to_tensor(flatten(impl_->image, background)); });
}

at::Tensor ImageFile::to_srgb(at::Tensor pixels) const {
  if (!impl_->plain_jpeg || !has_profile(impl_->image)) return pixels;
  return guarded([&] {
    VImage image = from_tensor(pixels);
    if (impl_->image.bands() == 1) image = image.extract_band(0);
    size_t size = 0;
    const void* profile = impl_->image.get_blob(VIPS_META_ICC_NAME, &size);
    image.set(VIPS_META_ICC_NAME, nullptr, const_cast<void*>(profile), size);
    return to_tensor(to_srgb_bytes(image));
  });
}

}  // namespace kessoku::data
