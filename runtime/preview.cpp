#include "runtime/preview.h"

#include <cmath>
#include <cstring>

#include "base/file.h"
#include "data/grid.h"
#include "data/image.h"
#include "data/png.h"
#include "model/pipeline.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;

std::vector<model::PictureRequest> requests_of(const RunConfig& config,
                                               const model::StableDiffusion& model) {
  const auto [height, width] = model.unet.config().sample_size;
  const int64_t downscale = model.vae.config().downscale();
  std::vector<model::PictureRequest> requests;
  for (const std::string& prompt : config.sample.prompts) {
    model::PictureRequest request;
    request.prompt = prompt;
    request.negative = config.sample.negative;
    request.seed = config.seed + requests.size();
    request.width = config.sample.size.empty() ? width * downscale : config.sample.size[0];
    request.height = config.sample.size.empty() ? height * downscale : config.sample.size[1];
    request.steps = config.sample.steps;
    request.cfg = config.sample.cfg;
    request.solver = config.sample.solver;
    requests.push_back(request);
  }
  return requests;
}

data::Image to_image(const at::Tensor& pixels) {
  data::Image image{pixels.size(1), pixels.size(0),
                    std::vector<uint8_t>(static_cast<size_t>(pixels.numel()))};
  std::memcpy(image.pixels.data(), pixels.contiguous().data_ptr<uint8_t>(), image.pixels.size());
  return image;
}

fs::path file_of(const fs::path& folder, size_t index) {
  return folder / fmt::format("{:05}.png", index);
}

/// This rank's share of the pictures.
void write_own(const fs::path& folder, const std::vector<model::PictureRequest>& requests,
               const model::StableDiffusion& model, const Communicator& communicator) {
  fs::create_directories(folder);
  constexpr size_t kBatch = 16;
  std::vector<size_t> own;
  for (size_t i = communicator.rank(); i < requests.size(); i += communicator.size())
    own.push_back(i);
  for (size_t begin = 0; begin < own.size(); begin += kBatch) {
    std::vector<model::PictureRequest> batch;
    for (size_t i = begin; i < std::min(begin + kBatch, own.size()); ++i)
      batch.push_back(requests[own[i]]);
    const at::Tensor pictures = model::make_pictures(model, batch);
    for (size_t i = 0; i < batch.size(); ++i) {
      data::write_png(file_of(folder, own[begin + i]), to_image(pictures[static_cast<int64_t>(i)]),
                      {{"prompt", batch[i].prompt}, {"seed", std::to_string(batch[i].seed)}});
    }
  }
}

void write_grid(const fs::path& folder, const std::vector<model::PictureRequest>& requests) {
  std::vector<data::Image> images;
  std::string prompts;
  for (size_t i = 0; i < requests.size(); ++i) {
    const fs::path file = file_of(folder, i);
    images.push_back(data::decode_image(data::read_image_file(file), file.string()));
    prompts += requests[i].prompt + "\n";
  }
  if (!images.empty()) {
    data::write_png(
        folder / "grid.png",
        data::make_grid(images, static_cast<size_t>(std::ceil(std::sqrt(images.size())))));
  }
  write_file_atomically(folder / "prompts.txt", prompts);
}

/// Pictures are no reason to end a run (a full disk, a folder that is gone).
template <typename Work>
void try_to_write(const fs::path& folder, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    fmt::print(stderr, "warning: {}: {}; the training goes on\n", folder.string(), error.what());
  }
}

}  // namespace

void write_preview(const fs::path& run, uint64_t step, const RunConfig& config,
                   const model::StableDiffusion& model, Communicator& communicator) {
  const fs::path folder = run / "samples" / fmt::format("step-{:08}", step);
  const std::vector<model::PictureRequest> requests = requests_of(config, model);
  try_to_write(folder, [&] { write_own(folder, requests, model, communicator); });
  communicator.barrier();
  if (communicator.rank() == 0) try_to_write(folder, [&] { write_grid(folder, requests); });
  communicator.barrier();
}

}  // namespace kessoku::runtime
