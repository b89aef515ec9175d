#pragma once

#include <string>

#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// How the optimizer treats one parameter.
struct ParameterSettings {
  double lr;  ///< peak
  double weight_decay;
  bool operator==(const ParameterSettings&) const = default;
};

/// What `config` says about the parameter `name`, e.g. "unet.conv_in.weight": the text encoder has
/// a learning rate of its own, and patterns of no_decay and lr_scale (the last that matches) apply.
ParameterSettings settings_of(const RunConfig::Optimizer& config, const std::string& name);

/// The parameters of train.target that optimizer.freeze does not name, as "unet.conv_in.weight".
/// Throws UsageError on patterns of `config` that match none of the model's, and if none is left.
model::Parameters trained_parameters(const RunConfig& config, const model::StableDiffusion& model);

}  // namespace kessoku::runtime
