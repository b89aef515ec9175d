#include "runtime/run/training_model.h"

#include <algorithm>

#include "model/pipeline/inpainting.h"
#include "runtime/host/device.h"
#include "runtime/images/sample_prompts.h"
#include "runtime/run/compatibility.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/trainer.h"
#include "runtime/training/training_schedule.h"

namespace kessoku::runtime {

TrainingModel::TrainingModel(const RunConfig& config, const data::Store& store,
                             const model::ModelSource& source)
    : config_(config), model_(model::load_model(source)) {
  if (config.train.inpainting) model::widen_for_inpainting(model_);
  set_training_schedule(config, model_.schedule);
  require_fit(config, store, model_);
  check_sample_prompts(config, model_);
  trained_ = trained_parameters(config, model_);
}

void TrainingModel::prepare(at::Device device) {
  move_model(model_, device);
  const bool checkpointing = config_.train.gradient_checkpointing;
  model_.unet.set_gradient_checkpointing(checkpointing);
  model_.text_encoder.set_gradient_checkpointing(checkpointing);
  model_.vae.set_gradient_checkpointing(checkpointing);
  round_untrained();
  objective_ = config_.trains("vae")
                   ? make_autoencoder_objective(model_.vae, config_)
                   : make_denoising_objective(model_.unet, model_.text_encoder, model_.vae,
                                              model_.schedule, config_);
}

bool TrainingModel::is_trained(const model::Parameter& parameter) const {
  return std::ranges::any_of(
      trained_, [&](const model::Parameter& one) { return one.tensor.is_same(parameter.tensor); });
}

model::Parameters TrainingModel::untrained() const {
  model::Parameters untrained;
  for (const auto& [part, parameters] : {std::pair{"unet", &model_.unet.parameters()},
                                         {"text_encoder", &model_.text_encoder.parameters()},
                                         {"vae", &model_.vae.parameters()}}) {
    for (const auto& [name, tensor] : *parameters) {
      if (!is_trained({name, tensor}))
        untrained.push_back({fmt::format("{}.{}", part, name), tensor});
    }
  }
  return untrained;
}

/// What is not trained only computes in the run's precision; the trainer sees to the rest.
void TrainingModel::round_untrained() {
  for (model::Parameters parameters :
       {model_.unet.parameters(), model_.text_encoder.parameters()}) {
    std::erase_if(parameters, [this](const model::Parameter& one) { return is_trained(one); });
    model::convert_parameters(parameters, dtype_of(config_));
  }
}

}  // namespace kessoku::runtime
