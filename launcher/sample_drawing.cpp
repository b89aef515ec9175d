#include "launcher/sample_drawing.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "base/error.h"
#include "data/images/resample.h"
#include "metrics/progress.h"
#include "model/pipeline/inpainting.h"
#include "model/pipeline/pipeline.h"
#include "runtime/images/generation_batches.h"
#include "runtime/images/output_folder.h"

namespace kessoku::launcher {

using runtime::GenerationSettings;

namespace {

/// Thrown out of an image that is under way.
struct Stopped {};

/// All images of the grid scaled alike, such that it stays an image that programs open.
class Thumbnails {
 public:
  Thumbnails(const std::vector<GenerationSettings>& images, size_t columns) {
    constexpr double kMostPixels = 8192;  // a side
    double width = 1, height = 1;
    for (const GenerationSettings& image : images) {
      width = std::max(width, static_cast<double>(image.request.width));
      height = std::max(height, static_cast<double>(image.request.height));
    }
    const auto across = static_cast<double>(columns);
    const double down = std::ceil(static_cast<double>(images.size()) / across);
    scale_ = std::min({1.0, kMostPixels / (width * across), kMostPixels / (height * down)});
  }
  data::Image of(const data::Image& image) const {
    const auto scaled = [&](int64_t side) {
      return std::max<int64_t>(1, std::lround(static_cast<double>(side) * scale_));
    };
    return data::resize_lanczos(image, scaled(image.width), scaled(image.height));
  }

 private:
  double scale_;
};

/// What the pixels of a finished image are: with --keep-original, partly the original's.
at::Tensor finish(const at::Tensor& pixels, const GenerationSettings& settings) {
  if (!settings.keep_original) return pixels;
  return model::keep_original(pixels, settings.request.init, settings.request.mask,
                              settings.feather);
}

/// Calls of the UNet for all batches.
uint64_t count_steps(const model::StableDiffusion& model,
                     const std::vector<GenerationSettings>& images,
                     const std::vector<std::vector<size_t>>& batches) {
  uint64_t steps = 0;
  for (const std::vector<size_t>& batch : batches)
    steps += static_cast<uint64_t>(model::count_steps(model, images[batch[0]].request));
  return steps;
}

}  // namespace

std::vector<GeneratedImage> draw_images(const model::StableDiffusion& model,
                                        const std::vector<GenerationSettings>& images,
                                        const std::filesystem::path& folder, size_t columns,
                                        const runtime::StopSignal& stop) {
  const std::vector<std::vector<size_t>> batches = runtime::group_into_batches(model, images);
  const uint64_t steps = count_steps(model, images, batches);
  const Thumbnails thumbnails(images, columns);
  runtime::OutputFolder files(folder);
  metrics::Progress progress("sample", "steps", steps);
  std::map<size_t, GeneratedImage> made;
  uint64_t done = 0;
  const auto show = [&] {
    progress.update(done, {{.text = fmt::format("{} of {} images", made.size(), images.size())}});
  };
  const auto on_step = [&](int64_t, int64_t) {
    if (stop.requested()) throw Stopped{};
    ++done;
    show();
  };
  try {
    for (const std::vector<size_t>& batch : batches) {
      std::vector<model::GenerationRequest> requests;
      for (const size_t i : batch) requests.push_back(images[i].request);
      at::set_num_threads(static_cast<int>(images[batch[0]].threads));
      const at::Tensor pixels =
          model::make_images(model, requests, {.rows = images[batch[0]].batch, .on_step = on_step});
      for (size_t place = 0; place < batch.size(); ++place) {
        const GenerationSettings& settings = images[batch[place]];
        const data::Image image =
            runtime::to_image(finish(pixels[static_cast<int64_t>(place)], settings));
        made[batch[place]] = {files.write(image, settings, batch[place]), settings,
                              thumbnails.of(image)};
      }
      show();
    }
  } catch (const Stopped&) {
  }
  std::vector<GeneratedImage> result;
  for (auto& [index, image] : made) result.push_back(std::move(image));
  return result;
}

}  // namespace kessoku::launcher
