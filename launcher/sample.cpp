#include <ATen/Parallel.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "data/images/grid.h"
#include "launcher/commands.h"
#include "launcher/list_images.h"
#include "launcher/model_folder.h"
#include "launcher/sample_drawing.h"
#include "model/stable_diffusion/model_digest.h"
#include "model/weights/safetensors.h"
#include "runtime/host/device.h"
#include "runtime/images/generation_batches.h"
#include "runtime/images/generation_inputs.h"
#include "runtime/images/output_folder.h"
#include "runtime/supervision/stop_signal.h"

namespace kessoku::launcher {

namespace {

namespace fs = std::filesystem;
using runtime::GenerationSettings;

void warn_of_truncation(const model::StableDiffusion& model,
                        const model::GenerationRequest& request) {
  for (const std::string& prompt : {request.prompt, request.negative}) {
    const int64_t truncated =
        model::tokenize_prompt(model.tokenizer, prompt, request.text).truncated;
    if (truncated > 0)
      log_warning("the last {} pieces of a prompt are cut off: {:.60}…", truncated, prompt);
  }
}

/// Fills in all that the command line leaves open, reading the files that images begin with.
void complete(std::vector<GenerationSettings>& images, const model::StableDiffusion& model) {
  runtime::GenerationInputs inputs(model);
  for (GenerationSettings& image : images) {
    inputs.load(image);
    if (image.batch == 0) image.batch = runtime::usual_batch(model, image.request);
    if (image.threads == 0) image.threads = at::get_num_threads();
    warn_of_truncation(model, image.request);
  }
  for (const std::string& note : inputs.notes()) log_info("{}", note);
}

/// Other versions may compute in another order.
void note_other_versions(const std::vector<GenerationSettings>& images) {
  for (const GenerationSettings& image : images) {
    if (image.kessoku.empty() || image.kessoku == version()) continue;
    log_info("made by kessoku {}, this is {}: the last bits may differ", image.kessoku, version());
    return;
  }
}

void require_model(std::vector<GenerationSettings>& images, const model::StableDiffusion& model,
                   const SampleOptions& options) {
  const std::string digest = model::model_digest(model);
  for (GenerationSettings& image : images) {
    if (!image.model_digest.empty() && image.model_digest != digest && !options.any_model) {
      throw DataError(
          fmt::format("{}: is not the model that the image was made with (digest {}, then {}); "
                      "--any-model makes one with it all the same",
                      image.model, digest, image.model_digest));
    }
    image.model_digest = digest;
  }
}

void require_latents(const SampleOptions& options, size_t images) {
  const auto given = options.given.find("latents");
  if (given == options.given.end()) return;
  const std::vector<int64_t> shape = model::SafetensorsFile(given->second).entry("latents").shape;
  if (shape.empty() || shape[0] != static_cast<int64_t>(images)) {
    throw UsageError(fmt::format("{}: latents is of shape ({}), but {} asked for", given->second,
                                 fmt::join(shape, ", "),
                                 counted(images, "image") + (images == 1 ? " is" : " are")));
  }
}

fs::path write_grid(const SampleOptions& options, const std::vector<GeneratedImage>& made,
                    size_t columns) {
  std::vector<data::Image> images;
  std::vector<std::string> labels;
  for (const GeneratedImage& image : made) {
    images.push_back(image.thumbnail);
    if (options.labels) labels.push_back(image.settings.request.prompt);
  }
  return runtime::OutputFolder(options.out).write_grid(data::make_grid(images, columns, labels));
}

void report(const SampleOptions& options, const std::vector<GeneratedImage>& made,
            const fs::path& grid) {
  if (!options.json) {
    if (!made.empty())
      log_info("{} and {} are in {}/", counted(made.size(), "image"), grid.filename().string(),
               options.out);
    return;
  }
  nlohmann::json images = nlohmann::json::array();
  for (const GeneratedImage& image : made) {
    const model::GenerationRequest& request = image.settings.request;
    images.push_back({{"file", image.file.string()},
                      {"prompt", request.prompt},
                      {"negative", request.negative},
                      {"seed", request.seed},
                      {"width", request.width},
                      {"height", request.height},
                      {"steps", request.steps},
                      {"cfg", request.cfg},
                      {"solver", request.solver}});
  }
  nlohmann::json document{{"pictures", std::move(images)}, {"grid", nullptr}};
  if (!grid.empty()) document["grid"] = grid.string();
  fmt::print("{}\n", to_text(document, 1));
}

/// One model makes all images.
model::StableDiffusion load_model_of(const std::vector<GenerationSettings>& images,
                                     const model::ModelSource& source) {
  const auto key = [](const GenerationSettings& p) {
    return std::tie(p.config, p.vae, p.ema, p.front_end, p.dtype);
  };
  for (const GenerationSettings& image : images) {
    if (key(image) == key(images.front())) continue;
    throw UsageError(
        "sample: all images of a call are made with the same config, vae, ema, front_end and "
        "dtype: make one after the other");
  }
  return model::load_model(source);
}

/// A path that goes on meaning the same: `latest` moves, the checkpoint that it points to stays.
std::string lasting_path(const fs::path& model) {
  return model.filename() == "latest" && fs::is_symlink(model)
             ? (model.parent_path() / fs::read_symlink(model)).string()
             : model.string();
}

}  // namespace

ExitCode run(const SampleOptions& options) {
  const runtime::StopSignal stop;
  std::vector<std::string> notes;
  std::vector<GenerationSettings> images = list_images(options, notes);
  for (const std::string& note : notes) log_warning("{}", note);
  require_latents(options, images.size());
  const GenerationSettings& first = images.front();
  if (first.model.empty())
    throw UsageError("sample: which model? kessoku sample MODEL --prompt TEXT");
  const model::ModelSource source =
      resolve_model({first.model, first.config, first.vae, first.ema, first.front_end});
  const model::StableDiffusion model = load_model_of(images, source);
  require_model(images, model, options);
  if (first.dtype == "bf16") {
    for (const auto* parameters :
         {&model.unet.parameters(), &model.text_encoder.parameters(), &model.vae.parameters()})
      model::convert_parameters(*parameters, at::kBFloat16);
  }
  runtime::move_model(model, runtime::choose_device(options.device));
  for (GenerationSettings& image : images) image.model = lasting_path(source.path);
  note_other_versions(images);
  complete(images, model);

  const size_t columns = options.columns > 0
                             ? options.columns
                             : static_cast<size_t>(std::ceil(std::sqrt(images.size())));
  const std::vector<GeneratedImage> made = draw_images(model, images, options.out, columns, stop);
  report(options, made, made.empty() ? fs::path() : write_grid(options, made, columns));
  if (made.size() == images.size()) return ExitCode::kDone;
  log_warning("stopped: {} of {} images are there", made.size(), images.size());
  return ExitCode::kStopped;
}

}  // namespace kessoku::launcher
