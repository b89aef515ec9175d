#include "runtime/run/loader_options.h"

#include "base/log.h"
#include "runtime/training/trainer.h"
#include "runtime/training/training_schedule.h"

namespace kessoku::runtime {

data::LoaderOptions loader_options(const RunConfig& config, const model::StableDiffusion& model,
                                   uint64_t first_step, const Communicator& communicator) {
  data::LoaderOptions options{config.data};
  options.seed = config.seed;
  options.first_step = first_step;
  options.last_step = config.train.steps;
  options.micro_batch =
      split_batch(config.train.global_batch, config.train.micro_batch, communicator.size()).micro;
  options.rank = communicator.rank();
  options.ranks = communicator.size();
  options.images = config.trains("vae");
  if (config.train.inpainting) options.masks = config.train.masks;
  std::tie(options.first_timestep, options.timesteps) = trained_timesteps(config, model.schedule);
  options.noise = config.train.noise;
  options.pinned = model.unet.parameters().front().tensor.is_cuda();
  if (config.data.on_bad_row == "skip") {
    options.on_bad_row = [](const std::string& problem) {
      log_warning("{}; other images take its draws", problem);
    };
  }
  options.encode_caption = [&model, &config](const std::string& caption) {
    model::TokenizedText text = model.tokenizer.tokenize(caption, config.data.caption_chunks());
    return data::EncodedCaption{std::move(text.ids), text.truncated > 0};
  };
  return options;
}

}  // namespace kessoku::runtime
