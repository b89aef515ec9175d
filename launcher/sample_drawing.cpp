#include "launcher/sample_drawing.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <cmath>

#include "base/error.h"
#include "data/resample.h"
#include "metrics/progress.h"
#include "model/inpainting.h"
#include "model/pipeline.h"
#include "runtime/picture_batches.h"
#include "runtime/picture_folder.h"

namespace kessoku::launcher {

using runtime::PictureSettings;

namespace {

/// Thrown out of a picture that is under way.
struct Stopped {};

/// All pictures of the grid scaled alike, such that it stays a picture that programs open.
class Thumbnails {
 public:
  Thumbnails(const std::vector<PictureSettings>& pictures, size_t columns) {
    constexpr double kMostPixels = 8192;  // a side
    double width = 1, height = 1;
    for (const PictureSettings& picture : pictures) {
      width = std::max(width, static_cast<double>(picture.request.width));
      height = std::max(height, static_cast<double>(picture.request.height));
    }
    const auto across = static_cast<double>(columns);
    const double down = std::ceil(static_cast<double>(pictures.size()) / across);
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

/// What the pixels of a finished picture are: with --keep-original, partly the original's.
at::Tensor finish(const at::Tensor& pixels, const PictureSettings& settings) {
  if (!settings.keep_original) return pixels;
  return model::keep_original(pixels, settings.request.init, settings.request.mask,
                              settings.feather);
}

at::Tensor make_batch(const model::StableDiffusion& model,
                      const std::vector<model::PictureRequest>& requests, int64_t rows,
                      const std::function<void(int64_t, int64_t)>& on_step) {
  try {
    return model::make_pictures(model, requests, {.rows = rows, .on_step = on_step});
  } catch (const c10::Error& error) {
    if (std::string(error.what()).find("can't allocate memory") == std::string::npos) throw;
    throw UsageError(
        fmt::format("not enough memory for {} pictures of {}x{} at once: a smaller --size, --batch "
                    "or --tile needs less",
                    rows, requests.front().width, requests.front().height));
  }
}

/// Calls of the UNet for all batches.
uint64_t count_steps(const model::StableDiffusion& model,
                     const std::vector<PictureSettings>& pictures,
                     const std::vector<std::vector<size_t>>& batches) {
  uint64_t steps = 0;
  for (const std::vector<size_t>& batch : batches)
    steps += static_cast<uint64_t>(model::count_steps(model, pictures[batch[0]].request));
  return steps;
}

}  // namespace

std::vector<MadePicture> draw_pictures(const model::StableDiffusion& model,
                                       const std::vector<PictureSettings>& pictures,
                                       const std::filesystem::path& folder, size_t columns,
                                       const runtime::StopSignal& stop) {
  const std::vector<std::vector<size_t>> batches = runtime::group_into_batches(model, pictures);
  const uint64_t steps = count_steps(model, pictures, batches);
  const Thumbnails thumbnails(pictures, columns);
  runtime::PictureFolder files(folder);
  metrics::Progress progress("sample", "steps", steps);
  std::map<size_t, MadePicture> made;
  uint64_t done = 0;
  const auto show = [&] {
    progress.update(done, fmt::format("{} of {} pictures", made.size(), pictures.size()));
  };
  const auto on_step = [&](int64_t, int64_t) {
    if (stop.requested()) throw Stopped{};
    ++done;
    show();
  };
  try {
    for (const std::vector<size_t>& batch : batches) {
      std::vector<model::PictureRequest> requests;
      for (const size_t i : batch) requests.push_back(pictures[i].request);
      at::set_num_threads(static_cast<int>(pictures[batch[0]].threads));
      const at::Tensor pixels = make_batch(model, requests, pictures[batch[0]].batch, on_step);
      for (size_t place = 0; place < batch.size(); ++place) {
        const PictureSettings& settings = pictures[batch[place]];
        const data::Image image =
            runtime::to_image(finish(pixels[static_cast<int64_t>(place)], settings));
        made[batch[place]] = {files.write(image, settings, batch[place]), settings,
                              thumbnails.of(image)};
      }
      show();
    }
  } catch (const Stopped&) {
  }
  std::vector<MadePicture> result;
  for (auto& [index, picture] : made) result.push_back(std::move(picture));
  return result;
}

}  // namespace kessoku::launcher
