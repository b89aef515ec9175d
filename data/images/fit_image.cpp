#include "data/images/fit_image.h"

#if __has_include(<ATen/ops/_upsample_lanczos2d_aa.h>)
#include <ATen/ops/_upsample_lanczos2d_aa.h>
#else
#include <ATen/ops/empty.h>

#include "data/images/resample.h"
#endif
#include <c10/core/InferenceMode.h>
#include <c10/util/ParallelGuard.h>
#include <fmt/format.h>

#include <cstring>

#include "base/error.h"
#include "base/system_error.h"
#include "base/text.h"

namespace kessoku::data {

namespace {

/// What the filter is left to do after a JPEG was shrunk while it was decoded.
constexpr int64_t kLeast = 2;

/// The largest divisor that leaves every crop at least `kLeast` times its bucket.
int choose_shrink(const ImageFile& file, const std::vector<Crop>& crops, const Bucket& bucket) {
  if (!file.can_shrink()) return 1;
  for (const int shrink : {8, 4, 2}) {
    if (std::ranges::all_of(crops, [&](const Crop& crop) {
          return crop.width() >= bucket.width * kLeast * shrink &&
                 crop.height() >= bucket.height * kLeast * shrink;
        })) {
      return shrink;
    }
  }
  return 1;
}

/// To whole pixels of the shrunk image, so that the crop that is recorded is the one that is made.
Crop align(const Crop& crop, int shrink) {
  const auto nearest = [&](int32_t edge) { return (edge + shrink / 2) / shrink * shrink; };
  const auto last = [&](int32_t edge) { return edge / shrink * shrink; };
  return {nearest(crop.left), nearest(crop.top), last(crop.right), last(crop.bottom)};
}

/// (H, W, 3) u8 of any size → (height, width, 3). LibTorch's filter, the fastest that there is;
/// data/images/resample has Pillow's, bit for bit, for images that are compared with diffusers',
/// and for a LibTorch that has none.
at::Tensor resize(const at::Tensor& pixels, int64_t width, int64_t height) {
  if (pixels.size(0) == height && pixels.size(1) == width) return pixels.contiguous();
#if __has_include(<ATen/ops/_upsample_lanczos2d_aa.h>)
  // In this order it is known as channels-last, and no plane is taken apart or put together.
  const at::Tensor planes = pixels.contiguous().unsqueeze(0).permute({0, 3, 1, 2});
  return at::_upsample_lanczos2d_aa(planes, at::IntArrayRef{height, width}, false, std::nullopt)
      .permute({0, 2, 3, 1})
      .squeeze(0)
      .contiguous();
#else
  const Image resized = resize_lanczos(to_image(pixels.contiguous()), width, height);
  at::Tensor result = at::empty({height, width, 3}, pixels.options());
  std::memcpy(result.mutable_data_ptr<uint8_t>(), resized.pixels.data(), resized.pixels.size());
  return result;
#endif
}

Image mirrored(const Image& image) {
  Image result = image;
  const auto width = static_cast<size_t>(image.width);
  for (size_t i = 0; i < result.pixels.size() / 3; ++i) {
    const size_t row = i / width * width;
    std::memcpy(&result.pixels[3 * i], &image.pixels[3 * (row + width - 1 - (i - row))], 3);
  }
  return result;
}

class Fitter {
 public:
  Fitter(std::string_view encoded, const FitOptions& options)
      : options_(options), file_(encoded, options.most_pixels) {}

  FittedImage fit(uint64_t seed, std::optional<size_t> wanted) {
    width_ = file_.turn().transpose ? file_.height() : file_.width();
    height_ = file_.turn().transpose ? file_.width() : file_.height();
    const size_t index = wanted.value_or(nearest_bucket(options_.table, width_, height_));
    const Bucket& bucket = options_.table.at(index);
    FittedImage fitted{index, width_, height_, {}, {}};

    std::vector<Crop> crops;
    for (int64_t k = 0; k <= crop_number(options_.variants - 1); ++k)
      crops.push_back(choose_crop(width_, height_, bucket, seed, k));
    const int shrink = choose_shrink(file_, crops, bucket);
    const at::Tensor pixels = file_.decode(shrink, options_.background);
    for (int64_t v = 0; v < options_.variants; ++v) {
      if (is_mirrored(v)) {
        fitted.crops.push_back(fitted.crops.back());
        fitted.variants.push_back(mirrored(fitted.variants.back()));
        continue;
      }
      const Crop wanted_crop = crops[static_cast<size_t>(crop_number(v))];
      const Crop stored = align(file_.turn().to_stored(wanted_crop, width_, height_), shrink);
      fitted.crops.push_back(file_.turn().to_shown(stored, width_, height_));
      fitted.variants.push_back(cut(pixels, stored, shrink, bucket));
    }
    return fitted;
  }

 private:
  Image cut(const at::Tensor& pixels, const Crop& stored, int shrink, const Bucket& bucket) const {
    const at::Tensor part = pixels.slice(0, stored.top / shrink, stored.bottom / shrink)
                                .slice(1, stored.left / shrink, stored.right / shrink);
    const Turn& turn = file_.turn();
    const int64_t width = turn.transpose ? bucket.height : bucket.width;
    const int64_t height = turn.transpose ? bucket.width : bucket.height;
    return to_image(turn.apply(file_.to_srgb(resize(part, width, height))));
  }

  const FitOptions& options_;
  ImageFile file_;
  int64_t width_ = 0;
  int64_t height_ = 0;
};

}  // namespace

Image to_image(const at::Tensor& pixels) {
  Image image{pixels.size(1), pixels.size(0), {}};
  const auto* first = pixels.const_data_ptr<uint8_t>();
  image.pixels.assign(first, first + pixels.numel());
  return image;
}

FittedImage fit_image(std::string_view encoded, const std::string& name, const FitOptions& options,
                      uint64_t seed, std::optional<size_t> bucket) {
  const c10::InferenceMode no_autograd;
  const c10::ParallelGuard serial(true);  // each image has a thread already
  try {
    return Fitter(encoded, options).fit(seed, bucket);
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", name, error.what()));
  } catch (const SystemError& error) {
    throw SystemError(fmt::format("{}: {}", name, error.what()));
  } catch (const std::exception& error) {
    if (!is_machine_failure(error)) throw;
    throw SystemError(fmt::format("{}: cannot be decoded: {}", name, first_line(error.what())));
  }
}

FittedImage fit_image(const std::filesystem::path& path, const FitOptions& options) {
  return fit_image(read_image_file(path), path.string(), options);
}

}  // namespace kessoku::data
