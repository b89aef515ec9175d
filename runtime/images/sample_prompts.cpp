#include "runtime/images/sample_prompts.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "data/images/grid.h"
#include "data/images/image.h"
#include "data/images/png.h"
#include "model/networks/vae_tiling.h"
#include "model/pipeline/pipeline.h"
#include "runtime/images/generation_batches.h"
#include "runtime/images/output_folder.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;

/// What is asked of the model for prompt `index`.
model::GenerationRequest request_of(const RunConfig& config, const model::StableDiffusion& model,
                                    size_t index) {
  const auto [height, width] = model.unet.config().sample_size;
  const int64_t downscale = model.vae.config().downscale();
  const std::vector<int64_t>& size = config.sample.size;
  model::GenerationRequest request;
  request.prompt = config.sample.prompts[index];
  request.negative = config.sample.negative;
  request.text = {.clip_skip = config.train.clip_skip,
                  .chunks = config.data.caption_chunks(),
                  .fill = true};  // as captions are trained
  request.seed = config.seed + index;
  request.width = size.empty() ? width * downscale : size[0];
  request.height = size.empty() ? height * downscale : size[1];
  request.steps = config.sample.steps;
  request.cfg = config.sample.cfg;
  request.solver = config.sample.solver;
  return request;
}

std::vector<GenerationSettings> images_of(const RunConfig& config,
                                          const model::StableDiffusion& model) {
  std::vector<GenerationSettings> images;
  for (size_t i = 0; i < config.sample.prompts.size(); ++i) {
    GenerationSettings& settings = images.emplace_back();
    model::GenerationRequest& request = settings.request;
    request = request_of(config, model, i);
    request.tile = model::default_tile(model.vae, request.width, request.height);
    settings.front_end = config.data.front_end;
    settings.tile = request.tile;
    settings.batch = usual_batch(model, request);
    settings.threads = at::get_num_threads();
  }
  return images;
}

fs::path file_of(const fs::path& folder, size_t index) {
  return folder / fmt::format("{:05}.png", index);
}

/// This rank's share of the images.
void write_own(const fs::path& folder, const std::vector<GenerationSettings>& images,
               const model::StableDiffusion& model, const Communicator& communicator) {
  fs::create_directories(folder);
  std::vector<GenerationSettings> own;
  for (size_t i = communicator.rank(); i < images.size(); i += communicator.size())
    own.push_back(images[i]);
  for (const std::vector<size_t>& batch : group_into_batches(model, own)) {
    std::vector<model::GenerationRequest> requests;
    for (const size_t i : batch) requests.push_back(own[i].request);
    const at::Tensor pixels =
        model::make_images(model, requests, {.rows = own[batch[0]].batch, .on_step = {}});
    for (size_t i = 0; i < batch.size(); ++i) {
      const size_t number = communicator.rank() + batch[i] * communicator.size();
      data::write_png(file_of(folder, number), to_image(pixels[static_cast<int64_t>(i)]),
                      image_text(own[batch[i]]));
    }
  }
}

void write_grid(const fs::path& folder, const std::vector<GenerationSettings>& settings) {
  std::vector<data::Image> images;
  std::string prompts;
  for (size_t i = 0; i < settings.size(); ++i) {
    const fs::path file = file_of(folder, i);
    images.push_back(data::decode_image(data::read_image_file(file), file.string()));
    prompts += settings[i].request.prompt + "\n";
  }
  if (!images.empty()) {
    data::write_png(
        folder / "grid.png",
        data::make_grid(images, static_cast<size_t>(std::ceil(std::sqrt(images.size())))));
  }
  write_file_atomically(folder / "prompts.txt", prompts);
}

/// Images are no reason to end a run (a full disk, a folder that is gone).
template <typename Work>
void try_to_write(const fs::path& folder, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    log_warning("{}: {}; training continues", folder.string(), error.what());
  }
}

}  // namespace

void check_sample_prompts(const RunConfig& config, const model::StableDiffusion& model) {
  if (!config.draws_samples()) return;
  try {
    // Prompts differ in nothing that could be impossible.
    const model::GenerationRequest request = request_of(config, model, 0);
    model::check_image_size(model, request.width, request.height);
    model::count_steps(model, request);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("[sample]: {}", error.what()));
  }
}

GenerationSize sample_size(const RunConfig& config, const model::StableDiffusion& model) {
  const model::GenerationRequest request = request_of(config, model, 0);
  return {request.width, request.height, usual_batch(model, request)};
}

void write_preview(const fs::path& run, uint64_t step, const RunConfig& config,
                   const model::StableDiffusion& model, Communicator& communicator) {
  const fs::path folder = run / "samples" / fmt::format("step-{:08}", step);
  const std::vector<GenerationSettings> images = images_of(config, model);
  try_to_write(folder, [&] { write_own(folder, images, model, communicator); });
  communicator.barrier();
  if (communicator.rank() == 0) try_to_write(folder, [&] { write_grid(folder, images); });
  communicator.barrier();
}

}  // namespace kessoku::runtime
