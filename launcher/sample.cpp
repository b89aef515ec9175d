#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/grid.h"
#include "data/resample.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "launcher/sample_options.h"
#include "metrics/progress.h"
#include "model/inpainting.h"
#include "model/model_digest.h"
#include "model/pipeline.h"
#include "model/safetensors.h"
#include "runtime/picture_folder.h"
#include "runtime/picture_inputs.h"
#include "runtime/stop_signal.h"

namespace kessoku::launcher {

namespace {

namespace fs = std::filesystem;
using runtime::PictureSettings;

/// Thrown out of a picture that is under way.
struct Stopped {};

/// A picture that is there.
struct Made {
  fs::path file;
  PictureSettings settings;
  data::Image thumbnail;
};

/// Enough pictures at once to keep the cores busy with small ones. A function of the picture's size
/// alone, because a picture's last bits depend on it.
int64_t usual_batch(const model::StableDiffusion& model, const model::PictureRequest& request) {
  const int64_t side = model.vae.config().downscale();
  return std::clamp<int64_t>(1024 / (request.width / side * (request.height / side)), 1, 8);
}

/// Fills in all that the command line leaves open, reading the files that pictures begin with.
void complete(std::vector<PictureSettings>& pictures, const model::StableDiffusion& model) {
  runtime::PictureInputs inputs(model);
  for (PictureSettings& picture : pictures) {
    inputs.load(picture);
    if (picture.batch == 0) picture.batch = usual_batch(model, picture.request);
    if (picture.threads == 0) picture.threads = at::get_num_threads();
    picture.kessoku = KESSOKU_VERSION;
  }
  for (const std::string& note : inputs.notes()) spdlog::info("{}", note);
}

void require_model(std::vector<PictureSettings>& pictures, const model::StableDiffusion& model,
                   const SampleOptions& options) {
  const std::string digest = model::model_digest(model);
  for (PictureSettings& picture : pictures) {
    if (!picture.model_digest.empty() && picture.model_digest != digest && !options.any_model) {
      throw DataError(
          fmt::format("{}: is not the model that the picture was made with (digest {}, then {}); "
                      "--any-model makes one with it all the same",
                      picture.model, digest, picture.model_digest));
    }
    picture.model_digest = digest;
  }
}

void require_latents(const SampleOptions& options, size_t pictures) {
  const auto given = options.given.find("latents");
  if (given == options.given.end()) return;
  const std::vector<int64_t> shape = model::SafetensorsFile(given->second).entry("latents").shape;
  if (shape.empty() || shape[0] != static_cast<int64_t>(pictures)) {
    throw UsageError(fmt::format("{}: latents is of shape ({}); there are {} pictures to make",
                                 given->second, fmt::join(shape, ", "), pictures));
  }
}

/// Numbers of pictures that are made at once, in the order of their first.
std::vector<std::vector<size_t>> batches(const model::StableDiffusion& model,
                                         const std::vector<PictureSettings>& pictures) {
  std::vector<std::vector<size_t>> batches;
  std::map<std::string, size_t> open;
  for (size_t i = 0; i < pictures.size(); ++i) {
    const std::string key = fmt::format("{} {} {}", model::batch_key(model, pictures[i].request),
                                        pictures[i].batch, pictures[i].threads);
    const auto [place, is_new] = open.emplace(key, batches.size());
    if (is_new) batches.emplace_back();
    std::vector<size_t>& batch = batches[place->second];
    batch.push_back(i);
    if (batch.size() == static_cast<size_t>(pictures[i].batch)) open.erase(place);
  }
  return batches;
}

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

/// Draws all pictures, batch by batch, and writes each as soon as it is there; those that are when
/// `stop` comes.
std::vector<Made> draw(const SampleOptions& options, const model::StableDiffusion& model,
                       const std::vector<PictureSettings>& pictures, size_t columns,
                       const runtime::StopSignal& stop) {
  runtime::PictureFolder folder(options.out);
  const Thumbnails thumbnails(pictures, columns);
  const std::vector<std::vector<size_t>> all = batches(model, pictures);
  uint64_t steps = 0, done = 0;
  for (const std::vector<size_t>& batch : all)
    steps += static_cast<uint64_t>(model::count_steps(model, pictures[batch[0]].request));
  metrics::Progress progress("sample", "steps", steps);
  std::map<size_t, Made> made;
  try {
    for (const std::vector<size_t>& batch : all) {
      std::vector<model::PictureRequest> requests;
      for (const size_t i : batch) requests.push_back(pictures[i].request);
      at::set_num_threads(static_cast<int>(pictures[batch[0]].threads));
      const at::Tensor pixels =
          make_batch(model, requests, pictures[batch[0]].batch, [&](int64_t, int64_t) {
            if (stop.requested()) throw Stopped{};
            progress.update(++done, fmt::format("{} of {} pictures", made.size(), pictures.size()));
          });
      for (size_t place = 0; place < batch.size(); ++place) {
        const PictureSettings& settings = pictures[batch[place]];
        const data::Image image =
            runtime::to_image(finish(pixels[static_cast<int64_t>(place)], settings));
        made[batch[place]] = {folder.write(image, settings, batch[place]), settings,
                              thumbnails.of(image)};
      }
    }
  } catch (const Stopped&) {
  }
  std::vector<Made> result;
  for (auto& [index, picture] : made) result.push_back(std::move(picture));
  return result;
}

fs::path write_grid(const SampleOptions& options, const std::vector<Made>& made, size_t columns) {
  std::vector<data::Image> images;
  std::vector<std::string> labels;
  for (const Made& picture : made) {
    images.push_back(picture.thumbnail);
    if (options.labels) labels.push_back(picture.settings.request.prompt);
  }
  return runtime::PictureFolder(options.out).write_grid(data::make_grid(images, columns, labels));
}

void report(const SampleOptions& options, const std::vector<Made>& made, const fs::path& grid) {
  if (!options.json) {
    if (!made.empty())
      spdlog::info("{} pictures and {} are in {}/", made.size(), grid.filename().string(),
                   options.out);
    return;
  }
  nlohmann::json pictures = nlohmann::json::array();
  for (const Made& picture : made) {
    const model::PictureRequest& request = picture.settings.request;
    pictures.push_back({{"file", picture.file.string()},
                        {"prompt", request.prompt},
                        {"negative", request.negative},
                        {"seed", request.seed},
                        {"width", request.width},
                        {"height", request.height},
                        {"steps", request.steps},
                        {"cfg", request.cfg},
                        {"solver", request.solver}});
  }
  nlohmann::json document{{"pictures", std::move(pictures)}, {"grid", nullptr}};
  if (!grid.empty()) document["grid"] = grid.string();
  fmt::print("{}\n", document.dump(1));
}

/// A path that goes on meaning the same: `latest` moves, the checkpoint that it points to stays.
std::string lasting_path(const fs::path& model) {
  return fs::is_symlink(model) ? (model.parent_path() / fs::read_symlink(model)).string()
                               : model.string();
}

ExitCode run_sample(const SampleOptions& options) {
  const runtime::StopSignal stop;
  std::vector<PictureSettings> pictures = list_pictures(options);
  require_latents(options, pictures.size());
  const PictureSettings& first = pictures.front();
  if (first.model.empty())
    throw UsageError("sample: which model? kessoku sample MODEL --prompt TEXT");
  const model::ModelSource source =
      resolve_model({first.model, first.config, first.vae, first.ema});
  const model::StableDiffusion model = model::load_model(source);
  require_model(pictures, model, options);
  for (PictureSettings& picture : pictures) picture.model = lasting_path(source.path);
  complete(pictures, model);

  const size_t columns = options.columns > 0
                             ? options.columns
                             : static_cast<size_t>(std::ceil(std::sqrt(pictures.size())));
  const std::vector<Made> made = draw(options, model, pictures, columns, stop);
  report(options, made, made.empty() ? fs::path() : write_grid(options, made, columns));
  if (made.size() == pictures.size()) return ExitCode::kDone;
  spdlog::warn("stopped: {} of {} pictures are there", made.size(), pictures.size());
  return ExitCode::kStopped;
}

}  // namespace

void add_sample_command(CLI::App& app, ExitCode& result) {
  auto options = std::make_shared<SampleOptions>();
  CLI::App* command = app.add_subcommand(
      "sample", "Make pictures from prompts, of pictures, or repaint parts of them");
  add_sample_options(*command, *options);
  command->footer(
      "Examples: kessoku sample runs/demo --prompt \"a cat and a dog\" --steps 20 --cfg 4 --seed 7 "
      "--out pictures\n"
      "          kessoku sample runs/demo --prompt \"a (red:1.3) hat\" --init a.png --mask m.png\n"
      "          kessoku sample --from pictures/00000.png\n"
      "Each PNG carries its prompt and settings. Ctrl-C keeps what is finished (exit code 75).");
  command->callback([options, &result] { result = run_sample(*options); });
}

}  // namespace kessoku::launcher
