#include "runtime/run/compatibility.h"

#include "base/error.h"
#include "data/loading/draw_augmentation.h"
#include "model/pipeline/inpainting.h"
#include "model/stable_diffusion/model_digest.h"
#include "runtime/checkpoint/weight_check.h"

namespace kessoku::runtime {

namespace {

/// How `kessoku prepare` is told the run's VAE.
std::string prepare_options(const RunConfig& config) {
  std::string options = "--model " + config.model.path;
  if (!config.model.config.empty()) options += " --config " + config.model.config;
  if (!config.model.vae.empty()) options += " --vae " + config.model.vae;
  return options;
}

/// Weights that compute in fp16 must fit into it. All fit into bf16 and fp32.
void require_precision(const RunConfig& config, const model::StableDiffusion& model) {
  if (config.train.precision != "fp16") return;
  const auto check = [](const char* part, const model::Parameters& parameters) {
    const std::string problem = check_weights(parameters, at::kHalf).too_large;
    if (problem.empty()) return;
    throw UsageError(fmt::format("train.precision = \"fp16\": {}.{} instead", part, problem));
  };
  if (config.trains("vae")) return check("vae", model.vae.parameters());
  check("unet", model.unet.parameters());
  check("text_encoder", model.text_encoder.parameters());
}

}  // namespace

void require_store(const RunConfig& config, const data::Store& store) {
  const std::string& path = config.data.store;
  data::LoaderOptions options{config.data};
  options.images = config.trains("vae");
  data::DrawAugmentation(store, options);  // throws early
  if (config.trains("vae")) {
    if (!store.keeps(data::Kind::kImages)) {
      throw UsageError(
          fmt::format("{}: keeps no images, which train.target = [\"vae\"] needs: prepare it with "
                      "--keep images",
                      path));
    }
    return;
  }
  if (!store.keeps(data::Kind::kMoments) && !store.keeps(data::Kind::kLatents)) {
    throw UsageError(
        fmt::format("{}: keeps no moments or latents: prepare it with --keep moments {}", path,
                    prepare_options(config)));
  }
  if (config.train.inpainting && !store.keeps(data::Kind::kImages)) {
    throw UsageError(
        fmt::format("{}: keeps no images, which train.inpainting needs to hide parts of them: "
                    "prepare it with --keep moments,images {}",
                    path, prepare_options(config)));
  }
}

void require_fit(const RunConfig& config, const data::Store& store,
                 const model::StableDiffusion& model) {
  require_store(config, store);
  require_precision(config, model);
  if (config.trains("vae")) return;
  if (!config.train.inpainting && model::is_inpainting_model(model)) {
    throw UsageError(
        fmt::format("{} is an inpainting model, whose UNet sees a mask too: set train.inpainting = "
                    "true",
                    config.model.path));
  }
  const int64_t layers = model.text_encoder.config().num_hidden_layers;
  if (config.train.clip_skip > layers) {
    throw UsageError(fmt::format("train.clip_skip = {}: the text encoder of {} has {} layers",
                                 config.train.clip_skip, config.model.path, layers));
  }
  const std::string digest = model::vae_digest(model.vae);
  if (store.manifest().encoder.digest != digest) {
    throw UsageError(fmt::format(
        "{}: was encoded by another VAE ({}) than the model's ({}): prepare it again with {}",
        config.data.store, store.manifest().encoder.digest, digest, prepare_options(config)));
  }
}

}  // namespace kessoku::runtime
