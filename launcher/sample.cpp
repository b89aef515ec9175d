#include <ATen/Parallel.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/grid.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "launcher/sample_drawing.h"
#include "launcher/sample_options.h"
#include "model/model_digest.h"
#include "model/safetensors.h"
#include "runtime/device.h"
#include "runtime/picture_batches.h"
#include "runtime/picture_folder.h"
#include "runtime/picture_inputs.h"
#include "runtime/stop_signal.h"

namespace kessoku::launcher {

namespace {

namespace fs = std::filesystem;
using runtime::PictureSettings;

void warn_of_truncation(const model::StableDiffusion& model, const model::PictureRequest& request) {
  for (const std::string& prompt : {request.prompt, request.negative}) {
    const int64_t truncated =
        model::tokenize_prompt(model.tokenizer, prompt, request.text).truncated;
    if (truncated > 0)
      spdlog::warn("the last {} pieces of a prompt are cut off: {:.60}…", truncated, prompt);
  }
}

/// Fills in all that the command line leaves open, reading the files that pictures begin with.
void complete(std::vector<PictureSettings>& pictures, const model::StableDiffusion& model) {
  runtime::PictureInputs inputs(model);
  for (PictureSettings& picture : pictures) {
    inputs.load(picture);
    if (picture.batch == 0) picture.batch = runtime::usual_batch(model, picture.request);
    if (picture.threads == 0) picture.threads = at::get_num_threads();
    warn_of_truncation(model, picture.request);
  }
  for (const std::string& note : inputs.notes()) spdlog::info("{}", note);
}

/// Other versions may compute in another order.
void note_other_versions(const std::vector<PictureSettings>& pictures) {
  for (const PictureSettings& picture : pictures) {
    if (picture.kessoku.empty() || picture.kessoku == KESSOKU_VERSION) continue;
    spdlog::info("made by kessoku {}, this is {}: the last bits may differ", picture.kessoku,
                 KESSOKU_VERSION);
    return;
  }
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

fs::path write_grid(const SampleOptions& options, const std::vector<MadePicture>& made,
                    size_t columns) {
  std::vector<data::Image> images;
  std::vector<std::string> labels;
  for (const MadePicture& picture : made) {
    images.push_back(picture.thumbnail);
    if (options.labels) labels.push_back(picture.settings.request.prompt);
  }
  return runtime::PictureFolder(options.out).write_grid(data::make_grid(images, columns, labels));
}

void report(const SampleOptions& options, const std::vector<MadePicture>& made,
            const fs::path& grid) {
  if (!options.json) {
    if (!made.empty())
      spdlog::info("{} pictures and {} are in {}/", made.size(), grid.filename().string(),
                   options.out);
    return;
  }
  nlohmann::json pictures = nlohmann::json::array();
  for (const MadePicture& picture : made) {
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

/// One model makes all pictures.
model::StableDiffusion load_model_of(const std::vector<PictureSettings>& pictures,
                                     const model::ModelSource& source) {
  const auto key = [](const PictureSettings& p) {
    return std::tie(p.config, p.vae, p.ema, p.front_end, p.dtype);
  };
  for (const PictureSettings& picture : pictures) {
    if (key(picture) == key(pictures.front())) continue;
    throw UsageError(
        "sample: all pictures of a call are made with the same config, vae, ema, front_end and "
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

ExitCode run_sample(const SampleOptions& options) {
  const runtime::StopSignal stop;
  std::vector<PictureSettings> pictures = list_pictures(options);
  require_latents(options, pictures.size());
  const PictureSettings& first = pictures.front();
  if (first.model.empty())
    throw UsageError("sample: which model? kessoku sample MODEL --prompt TEXT");
  const model::ModelSource source =
      resolve_model({first.model, first.config, first.vae, first.ema, first.front_end});
  const model::StableDiffusion model = load_model_of(pictures, source);
  require_model(pictures, model, options);
  if (first.dtype == "bf16") {
    for (const auto* parameters :
         {&model.unet.parameters(), &model.text_encoder.parameters(), &model.vae.parameters()})
      model::convert_parameters(*parameters, at::kBFloat16);
  }
  runtime::move_model(model, runtime::choose_device(options.device));
  for (PictureSettings& picture : pictures) picture.model = lasting_path(source.path);
  note_other_versions(pictures);
  complete(pictures, model);

  const size_t columns = options.columns > 0
                             ? options.columns
                             : static_cast<size_t>(std::ceil(std::sqrt(pictures.size())));
  const std::vector<MadePicture> made = draw_pictures(model, pictures, options.out, columns, stop);
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
