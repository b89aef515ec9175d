#include "data/prepare/row_maker.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/system_error.h"
#include "data/prepare/cached_latents.h"

namespace kessoku::data {

namespace {

/// (3, H, W) u8. By hand: a strided copy of LibTorch's takes four times as long.
at::Tensor to_planes(const Image& image) {
  const at::Tensor planes = at::empty({3, image.height, image.width}, at::kByte);
  const size_t area = image.pixels.size() / 3;
  auto* red = planes.mutable_data_ptr<uint8_t>();
  uint8_t *green = red + area, *blue = green + area;
  const uint8_t* pixel = image.pixels.data();
  for (size_t i = 0; i < area; ++i, pixel += 3) {
    red[i] = pixel[0];
    green[i] = pixel[1];
    blue[i] = pixel[2];
  }
  return planes;
}

std::array<int32_t, 4> box(const Crop& crop) {
  return {crop.left, crop.top, crop.right, crop.bottom};
}

}  // namespace

std::optional<MadeRow> RowMaker::make(const Planned& row) const {
  const Example& example = dataset_.examples[row.example];
  FittedImage fitted;
  uint64_t content = 0;
  try {
    const std::string encoded = read_image_file(dataset_.root / example.source);
    content = content_hash(dataset_, example, encoded);
    fitted = fit_image(encoded, example.source, options_.fit, content,
                       example.size ? std::optional<size_t>(row.bucket) : std::nullopt);
  } catch (const SystemError&) {
    throw;
  } catch (const Error&) {
    return std::nullopt;
  }
  if (row.content.value_or(content) != content || fitted.bucket != row.bucket) {
    throw DataError(
        fmt::format("{}: changed while the store was prepared; run it again", example.source));
  }
  MadeRow made;
  const std::optional<at::Tensor> ready = ready_latents(example, made.warning);
  made.provenance = {static_cast<uint32_t>(fitted.source_width),
                     static_cast<uint32_t>(fitted.source_height), box(fitted.crops[0]), content};
  for (size_t v = 0; v < fitted.variants.size(); ++v) {
    made.variants.push_back({box(fitted.crops[v]), is_mirrored(static_cast<int64_t>(v))});
    const at::Tensor pixels = to_planes(fitted.variants[v]);
    const at::Tensor moments =
        options_.encode && !ready ? encode(pixels, example.source) : at::Tensor();
    std::map<Kind, at::Tensor>& tensors = made.tensors.emplace_back();
    for (const Kind kind : options_.keep) {
      tensors[kind] = kind == Kind::kImages    ? pixels
                      : kind == Kind::kMoments ? moments
                      : ready                  ? *ready
                                               : moments.chunk(2)[0];
    }
  }
  return made;
}

Skipped RowMaker::explain(const Planned& row) const {
  const std::string& source = dataset_.examples[row.example].source;
  try {
    fit_image(read_image_file(dataset_.root / source), source, options_.fit);
  } catch (const SystemError&) {
    throw;
  } catch (const Error& error) {
    return skipped(dataset_, row.example, error.what());
  }
  throw_readable_again(dataset_, row.example);
}

/// The latents that the dataset brings along, if they are sound: the image need not be encoded.
std::optional<at::Tensor> RowMaker::ready_latents(const Example& example,
                                                  std::string& warning) const {
  if (example.latents.empty()) return std::nullopt;
  try {
    return read_ready_latents(dataset_, example);
  } catch (const SystemError&) {
    throw;
  } catch (const Error& error) {
    warning = fmt::format("latents not used, the image is encoded: {}", error.what());
    return std::nullopt;
  }
}

/// Moments in half precision, (2C, h, w).
at::Tensor RowMaker::encode(const at::Tensor& pixels, const std::string& source) const {
  const at::Tensor moments =
      options_.encode(pixels.unsqueeze(0).to(at::kFloat).div(127.5).sub(1)).cpu();
  if (moments.dim() != 4 || moments.size(0) != 1 || moments.size(1) != 2 * options_.latent_channels)
    throw std::logic_error("prepare_store: `encode` must give (1, 2C, h, w)");
  const at::Tensor half = moments[0].to(at::kHalf).contiguous();
  if (!at::isfinite(half).all().item<bool>()) {
    throw DataError(fmt::format(
        "{}: the VAE gives numbers beyond half precision; are its weights sound?", source));
  }
  return half;
}

}  // namespace kessoku::data
