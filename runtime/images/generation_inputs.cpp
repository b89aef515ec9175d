#include "runtime/images/generation_inputs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "data/images/resample.h"
#include "model/networks/vae_tiling.h"
#include "model/pipeline/pipeline.h"
#include "model/weights/safetensors.h"

namespace kessoku::runtime {

namespace {

constexpr double kUsualStrength = 0.8;  // diffusers' for image → image

std::string digest_of(const void* bytes, size_t size) {
  return to_hex(checksum({static_cast<const std::byte*>(bytes), size}));
}

/// Keeps a digest, or compares it with the one that is known already.
void require_digest(std::string& known, const std::string& found, const std::string& file,
                    const char* option) {
  if (known.empty()) known = found;
  if (known != found) {
    throw DataError(
        fmt::format("{}: is not the file that the image was made with (digest {}, then {}); give "
                    "{} to use it "
                    "all the same",
                    file, found, known, option));
  }
}

/// How an image comes to another size: scaled as a whole, then cut out.
struct Fit {
  int64_t width, height;  // of the whole, scaled
  int64_t left, top;      // of what is cut out of it
};

/// Covers width × height, and cuts out the center; the numbers are those of diffusers'
/// resize_mode="crop".
Fit cover(const data::Image& image, int64_t width, int64_t height) {
  const double wanted = static_cast<double>(width) / static_cast<double>(height);
  const double own = static_cast<double>(image.width) / static_cast<double>(image.height);
  Fit fit{wanted > own ? width : image.width * height / image.height,
          wanted <= own ? height : image.height * width / image.width, 0, 0};
  fit.left = std::max<int64_t>(0, fit.width / 2 - width / 2);
  fit.top = std::max<int64_t>(0, fit.height / 2 - height / 2);
  return fit;
}

data::Image apply(const Fit& fit, const data::Image& image,
                  const model::GenerationRequest& request) {
  return data::crop(data::resize_lanczos(image, fit.width, fit.height), fit.left, fit.top,
                    request.width, request.height);
}

/// (3, H, W) in −1…1.
at::Tensor to_tensor(const data::Image& image) {
  at::Tensor pixels = at::empty({image.height, image.width, 3}, at::kByte);
  std::memcpy(pixels.data_ptr<uint8_t>(), image.pixels.data(), image.pixels.size());
  return (pixels.permute({2, 0, 1}).to(at::kFloat) / 255 * 2 - 1).contiguous();
}

/// (1, H, W), 1 where the image is at least half bright.
at::Tensor to_mask(const data::Image& image) {
  at::Tensor mask = at::empty({1, image.height, image.width}, at::kFloat);
  float* out = mask.data_ptr<float>();
  for (const uint8_t value : data::brightness(image)) *out++ = value >= 128 ? 1.0f : 0.0f;
  return mask;
}

}  // namespace

void GenerationInputs::note(const std::string& line) {
  if (std::find(notes_.begin(), notes_.end(), line) == notes_.end()) notes_.push_back(line);
}

const GenerationInputs::File& GenerationInputs::read(const std::string& path, uint8_t background) {
  const auto key = std::pair(path, background);
  if (const auto found = files_.find(key); found != files_.end()) return found->second;
  const std::string content = data::read_image_file(path);
  File file{data::decode_image(content, path, background),
            digest_of(content.data(), content.size())};
  return files_.emplace(key, std::move(file)).first->second;
}

void GenerationInputs::load_noise(GenerationSettings& settings) {
  if (settings.latents.empty()) return;
  const model::SafetensorsFile file(settings.latents);
  const at::Tensor latents = file.tensor("latents");
  const int64_t channels = model_.vae.config().latent_channels;
  if (latents.dim() != 4 || latents.size(0) <= settings.latents_row ||
      latents.size(1) != channels) {
    throw UsageError(fmt::format(
        "{}: latents is of shape ({}); image {} of this model needs ({} or more, {}, h, w)",
        settings.latents, fmt::join(latents.sizes(), ", "), settings.latents_row,
        settings.latents_row + 1, channels));
  }
  const at::Tensor noise = latents[settings.latents_row].to(at::kFloat, false, true).contiguous();
  if (!at::isfinite(noise).all().item<bool>()) {
    throw DataError(fmt::format("{}: latents of image {} are not finite", settings.latents,
                                settings.latents_row));
  }
  require_digest(settings.latents_digest, digest_of(noise.const_data_ptr(), noise.nbytes()),
                 settings.latents, "--latents");
  settings.request.noise = noise;
  if (settings.request.width == 0 && settings.init.empty()) {
    settings.request.width = noise.size(2) * model_.vae.config().downscale();
    settings.request.height = noise.size(1) * model_.vae.config().downscale();
  }
}

void GenerationInputs::load_images(GenerationSettings& settings) {
  model::GenerationRequest& request = settings.request;
  if (settings.init.empty()) {
    if (!settings.mask.empty())
      throw UsageError("a mask needs the image that is to be repainted: give --init");
    if (settings.keep_original)
      throw UsageError("there is no original to keep: give --init and --mask");
    return;
  }
  const File& init = read(settings.init, 255);
  require_digest(settings.init_digest, init.digest, settings.init, "--init");
  const data::Image& image = init.image;
  Fit fit{};
  if (request.width == 0) {
    const int64_t unit = model_.vae.config().downscale();
    request.width = std::max(unit, image.width - image.width % unit);
    request.height = std::max(unit, image.height - image.height % unit);
    fit = {request.width, request.height, 0, 0};
  } else {
    model::check_image_size(model_, request.width, request.height);
    fit = cover(image, request.width, request.height);
  }
  if (fit.width != image.width || fit.height != image.height || fit.width != request.width ||
      fit.height != request.height) {
    const bool cut = fit.width != request.width || fit.height != request.height;
    note(fmt::format(
        "{} is {}x{}: scaled to {}x{}{}", settings.init, image.width, image.height, fit.width,
        fit.height,
        cut ? fmt::format(", of which the middle {}x{} is taken", request.width, request.height)
            : ""));
  }
  const std::string key =
      fmt::format("{}x{} {}x{} ", request.width, request.height, fit.width, fit.height);
  at::Tensor& fitted = fitted_[key + settings.init];
  if (!fitted.defined()) fitted = to_tensor(apply(fit, image, request));
  request.init = fitted;
  if (settings.mask.empty()) {
    if (settings.keep_original) throw UsageError("keeping the original needs a --mask");
    return;
  }
  const File& mask = read(settings.mask, 0);
  require_digest(settings.mask_digest, mask.digest, settings.mask, "--mask");
  at::Tensor& fitted_mask = fitted_[key + "mask " + settings.mask];
  if (!fitted_mask.defined()) fitted_mask = to_mask(apply(fit, mask.image, request));
  request.mask = fitted_mask;
  if (request.mask.sum().item<double>() == 0)
    note(fmt::format("{} has no white: nothing is repainted", settings.mask));
}

void GenerationInputs::load(GenerationSettings& settings) {
  load_noise(settings);
  load_images(settings);
  model::GenerationRequest& request = settings.request;
  if (request.width == 0) {
    const auto [height, width] = model_.unet.config().sample_size;
    request.width = width * model_.vae.config().downscale();
    request.height = height * model_.vae.config().downscale();
  }
  model::check_image_size(model_, request.width, request.height);
  if (!settings.init.empty()) {
    if (!settings.strength) settings.strength = settings.mask.empty() ? kUsualStrength : 1;
    request.strength = *settings.strength;
  } else if (settings.strength) {
    throw UsageError("strength says how much of an image is changed: give --init");
  }
  if (!settings.tile)
    settings.tile = model::default_tile(model_.vae, request.width, request.height);
  request.tile = *settings.tile;
  model::check_tile(model_.vae, request.tile);
}

}  // namespace kessoku::runtime
