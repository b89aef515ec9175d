#include "launcher/training_setup.h"

#include <algorithm>

#include "runtime/training/trainer.h"
#include "runtime/training/training_schedule.h"

namespace kessoku::launcher {

void round_untrained(const runtime::RunConfig& config, const model::Parameters& trained,
                     const model::StableDiffusion& model) {
  const auto is_trained = [&](const model::Parameter& parameter) {
    return std::ranges::any_of(
        trained, [&](const model::Parameter& one) { return one.tensor.is_same(parameter.tensor); });
  };
  for (model::Parameters parameters : {model.unet.parameters(), model.text_encoder.parameters()}) {
    std::erase_if(parameters, is_trained);
    model::convert_parameters(parameters, runtime::dtype_of(config));
  }
}

void use_gradient_checkpointing(bool on, model::StableDiffusion& model) {
  model.unet.set_gradient_checkpointing(on);
  model.text_encoder.set_gradient_checkpointing(on);
  model.vae.set_gradient_checkpointing(on);
}

data::LoaderOptions loader_options(const runtime::RunConfig& config,
                                   const model::StableDiffusion& model, uint64_t first_step,
                                   const runtime::Communicator& communicator) {
  data::LoaderOptions options{config.data};
  options.seed = config.seed;
  options.first_step = first_step;
  options.last_step = config.train.steps;
  options.micro_batch =
      runtime::split_batch(config.train.global_batch, config.train.micro_batch, communicator.size())
          .micro;
  options.rank = communicator.rank();
  options.ranks = communicator.size();
  options.images = config.trains("vae");
  if (config.train.inpainting) options.masks = config.train.masks;
  std::tie(options.first_timestep, options.timesteps) =
      runtime::trained_timesteps(config, model.schedule);
  options.noise = config.train.noise;
  if (config.data.on_bad_row == "skip") {
    options.on_bad_row = [](const std::string& problem) {
      fmt::print(stderr, "warning: {}; other images take its draws\n", problem);
    };
  }
  options.encode_caption = [&model, &config](const std::string& caption) {
    return model.tokenizer.tokenize(caption, config.data.caption_chunks()).ids;
  };
  return options;
}

}  // namespace kessoku::launcher
