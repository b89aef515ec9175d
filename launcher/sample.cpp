#include <ATen/Parallel.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "data/grid.h"
#include "data/png.h"
#include "launcher/commands.h"
#include "launcher/model_folder.h"
#include "metrics/progress.h"
#include "model/pipeline.h"
#include "model/safetensors.h"
#include "model/solver.h"

namespace kessoku::launcher {

namespace {

struct SampleOptions {
  std::string model;
  std::vector<std::string> prompts;
  std::string prompts_file;
  model::PictureRequest settings;
  std::string size;     // WxH; empty: the model's own
  std::string latents;  // a .safetensors file
  std::string out = "samples";
  int64_t batch = 0;   // 0: by size
  int threads = 0;     // 0: all cores
  size_t columns = 0;  // 0: a square grid
};

std::vector<std::string> read_prompts(const SampleOptions& options) {
  std::vector<std::string> prompts = options.prompts;
  if (!options.prompts_file.empty()) {
    const std::string content = read_file(options.prompts_file);
    for (std::string line; const std::string& text : CLI::detail::split(content, '\n')) {
      line = CLI::detail::trim_copy(text);
      if (!line.empty()) prompts.push_back(line);
    }
  }
  if (prompts.empty())
    throw UsageError("sample: nothing to draw: give --prompt TEXT or --prompts FILE");
  return prompts;
}

std::pair<int64_t, int64_t> parse_size(const std::string& text) {
  int64_t width = 0, height = 0;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, width);
  if (first.ec == std::errc() && first.ptr != end && *first.ptr == 'x') {
    const auto second = std::from_chars(first.ptr + 1, end, height);
    if (second.ec == std::errc() && second.ptr == end && width > 0 && height > 0)
      return {width, height};
  }
  throw UsageError(
      fmt::format("sample: --size {}: must be WIDTHxHEIGHT in pixels, e.g. 512x512", text));
}

/// Unit normals from --latents, one picture each; undefined without.
at::Tensor read_latents(const SampleOptions& options, const model::StableDiffusion& model,
                        size_t pictures) {
  if (options.latents.empty()) return {};
  const at::Tensor latents =
      model::SafetensorsFile(options.latents).tensor("latents").to(at::kFloat, false, true);
  const int64_t channels = model.vae.config().latent_channels;
  if (latents.dim() != 4 || latents.size(0) != static_cast<int64_t>(pictures) ||
      latents.size(1) != channels) {
    throw UsageError(fmt::format(
        "{}: latents is of shape ({}); {} pictures of this model need ({}, {}, h, w)",
        options.latents, fmt::join(latents.sizes(), ", "), pictures, pictures, channels));
  }
  return latents;
}

void set_size(const SampleOptions& options, const model::StableDiffusion& model,
              const at::Tensor& latents, model::PictureRequest& settings) {
  const int64_t downscale = model.vae.config().downscale();
  if (!options.size.empty()) {
    std::tie(settings.width, settings.height) = parse_size(options.size);
  } else if (latents.defined()) {
    settings.width = latents.size(3) * downscale;
    settings.height = latents.size(2) * downscale;
  } else {
    const auto [height, width] = model.unet.config().sample_size;
    settings.width = width * downscale;
    settings.height = height * downscale;
  }
  model::check_picture_size(model, settings.width, settings.height);
}

std::vector<model::PictureRequest> make_requests(const std::vector<std::string>& prompts,
                                                 const model::PictureRequest& settings) {
  std::vector<model::PictureRequest> requests;
  for (size_t i = 0; i < prompts.size(); ++i) {
    requests.push_back(settings);
    requests.back().prompt = prompts[i];
    requests.back().seed = settings.seed + i;
  }
  return requests;
}

/// As many pictures at once as four of 512×512 pixels (of a model with SD's downscale of 8) have
/// latents, and at most 32: enough to keep the cores busy.
size_t batch_size(const SampleOptions& options, const model::StableDiffusion& model,
                  const model::PictureRequest& settings) {
  if (options.batch > 0) return static_cast<size_t>(options.batch);
  const int64_t downscale = model.vae.config().downscale();
  const int64_t latents = (settings.width / downscale) * (settings.height / downscale);
  return static_cast<size_t>(std::clamp<int64_t>(4 * 64 * 64 / latents, 1, 32));
}

data::Image image_at(const at::Tensor& pictures, int64_t index) {
  const at::Tensor picture = pictures.select(0, index).contiguous();
  const uint8_t* pixels = picture.data_ptr<uint8_t>();
  return {picture.size(1), picture.size(0), {pixels, pixels + picture.numel()}};
}

std::map<std::string, std::string> describe(const model::PictureRequest& request,
                                            const std::string& model) {
  return {{"prompt", request.prompt},
          {"negative", request.negative},
          {"seed", fmt::format("{}", request.seed)},
          {"steps", fmt::format("{}", request.steps)},
          {"cfg", fmt::format("{}", request.cfg)},
          {"solver", request.solver},
          {"size", fmt::format("{}x{}", request.width, request.height)},
          {"model", model}};
}

/// Draws all pictures, batch by batch, and writes each as soon as it is there.
std::vector<data::Image> draw(const SampleOptions& options, const model::StableDiffusion& model,
                              const std::vector<model::PictureRequest>& requests,
                              const at::Tensor& latents) {
  const size_t batch = batch_size(options, model, requests.front());
  const size_t batches = (requests.size() + batch - 1) / batch;
  const auto steps = static_cast<size_t>(requests.front().steps);
  metrics::Progress progress("sample", "steps", batches * steps);
  std::vector<data::Image> images;
  for (size_t begin = 0; begin < requests.size(); begin += batch) {
    const size_t end = std::min(begin + batch, requests.size());
    const std::vector<model::PictureRequest> part(requests.begin() + static_cast<ptrdiff_t>(begin),
                                                  requests.begin() + static_cast<ptrdiff_t>(end));
    const at::Tensor part_latents =
        latents.defined() ? latents.slice(0, static_cast<int64_t>(begin), static_cast<int64_t>(end))
                          : latents;
    const at::Tensor pictures = model::make_pictures(
        model, part, {.noise = part_latents, .on_step = [&](int64_t done, int64_t) {
                        progress.update(
                            begin / batch * steps + static_cast<size_t>(done),
                            fmt::format("pictures {}-{} of {}", begin + 1, end, requests.size()));
                      }});
    for (size_t i = begin; i < end; ++i) {
      images.push_back(image_at(pictures, static_cast<int64_t>(i - begin)));
      data::write_png(std::filesystem::path(options.out) / fmt::format("{:05}.png", i),
                      images.back(), describe(requests[i], options.model));
    }
  }
  return images;
}

void run_sample(const SampleOptions& options) {
  const std::vector<std::string> prompts = read_prompts(options);
  if (!options.size.empty()) parse_size(options.size);  // before the model's weights are read
  if (options.threads > 0) at::set_num_threads(options.threads);
  const model::StableDiffusion model = model::load_model(resolve_model_folder(options.model));

  const at::Tensor latents = read_latents(options, model, prompts.size());
  model::PictureRequest settings = options.settings;
  set_size(options, model, latents, settings);
  std::filesystem::create_directories(options.out);
  const auto images = draw(options, model, make_requests(prompts, settings), latents);

  const size_t columns = options.columns > 0
                             ? options.columns
                             : static_cast<size_t>(std::ceil(std::sqrt(images.size())));
  data::write_png(std::filesystem::path(options.out) / "grid.png", data::make_grid(images, columns),
                  describe(settings, options.model));
  spdlog::info("{} pictures and grid.png are in {}/", images.size(), options.out);
}

}  // namespace

void add_sample_command(CLI::App& app) {
  auto options = std::make_shared<SampleOptions>();
  model::PictureRequest& settings = options->settings;
  CLI::App* command = app.add_subcommand("sample", "Make pictures from prompts");
  command
      ->add_option("MODEL", options->model,
                   "A model folder, a checkpoint, or a run folder (its newest checkpoint)")
      ->required();
  command->add_option("--prompt", options->prompts, "What to draw; may be given several times")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--prompts", options->prompts_file,
                      "File of prompts, one a line (empty lines are skipped)");
  command->add_option("--negative", settings.negative, "What not to draw");
  command->add_option("--steps", settings.steps, "Solver steps")
      ->check(CLI::Range(1, 999))
      ->capture_default_str();
  command->add_option("--cfg", settings.cfg, "Guidance scale; 1 = none")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command
      ->add_option("--solver", settings.solver,
                   "how to walk from noise to picture; docs/solvers.md")
      ->check(CLI::IsMember(model::solver_names()))
      ->capture_default_str();
  command->add_option("--seed", settings.seed, "Of the first picture; the next ones count up")
      ->capture_default_str();
  command->add_option("--size", options->size, "WIDTHxHEIGHT in pixels (default: the model's own)");
  command->add_option(
      "--latents", options->latents,
      "A .safetensors file whose \"latents\", unit normal (pictures, C, h, w), replace the seeds");
  command->add_option("--out", options->out, "Folder for 00000.png, 00001.png … and grid.png")
      ->capture_default_str();
  command
      ->add_option("--batch", options->batch, "Pictures at a time (default: by size, at most 32)")
      ->check(CLI::PositiveNumber);
  command->add_option("--threads", options->threads, "CPU threads (default: all cores)")
      ->check(CLI::PositiveNumber);
  command->add_option("--columns", options->columns, "Columns of the grid (default: a square)")
      ->check(CLI::PositiveNumber);
  command->footer(
      "Example: kessoku sample runs/demo --prompt \"a cat and a dog\" --steps 20 --cfg 4 --seed 7 "
      "--out pictures\n"
      "Each PNG carries its prompt and settings as text.");
  command->callback([options] { run_sample(*options); });
}

}  // namespace kessoku::launcher
