#include "runtime/announce.h"

#include <cstdio>

#include "base/error.h"
#include "model/inpainting.h"
#include "runtime/caption_lengths.h"

namespace kessoku::runtime {

namespace {

/// Captions whose length is looked at: a million would take seconds.
constexpr size_t kLookedAt = 50'000;

/// How `kessoku prepare` is told the run's VAE.
std::string prepare_options(const RunConfig& config) {
  std::string options = "--model " + config.model.path;
  if (!config.model.config.empty()) options += " --config " + config.model.config;
  if (!config.model.vae.empty()) options += " --vae " + config.model.vae;
  return options;
}

}  // namespace

void require_fit(const RunConfig& config, const data::Store& store,
                 const model::StableDiffusion& model) {
  const std::string& path = config.data.store;
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
        "{}: was encoded by another VAE ({}) than the model's ({}): prepare it again with {}", path,
        store.manifest().encoder.digest, digest, prepare_options(config)));
  }
}

void announce(const RunConfig& config, const RunFolder& folder, const data::Store& store,
              const data::Mixture& mixture, const data::Sampler& sampler,
              const model::Tokenizer& tokenizer, Trainer& trainer,
              const Communicator& communicator) {
  const BatchSplit split =
      split_batch(config.train.global_batch, config.train.micro_batch, communicator.size());
  std::string text = to_toml(config) + "\n";
  text += fmt::format("run          {}\n", folder.path.string());
  text += fmt::format("store        {}: {} examples in {} buckets; a pass is {} draws\n",
                      config.data.store, store.size(), store.manifest().buckets.size(),
                      sampler.pass_draws());
  text += fmt::format("trained      {} parameters of {}\n", trainer.flat().used(),
                      fmt::join(config.train.target, ", "));
  text +=
      fmt::format("global batch {} = {} ranks x {} draws x {} accumulated, in {} on {}\n",
                  config.train.global_batch, communicator.size(), split.micro, split.accumulation,
                  config.train.precision, trainer.flat().values().device().str());
  if (folder.resume_from) {
    text += fmt::format("goes on      at step {} from {}{}\n", trainer.steps_done(),
                        folder.resume_from->string(),
                        trainer.steps_done() >= config.train.steps
                            ? ": that was the last step, nothing is to be done"
                            : "");
  }
  for (const std::string& warning : mixture.warnings) text += "warning: " + warning + "\n";
  for (const std::string& warning : sampler.warnings(config.train.steps, store.manifest()))
    text += "warning: " + warning + "\n";
  for (const std::string& warning : sampler.rare_folders(config.train.steps, store.manifest()))
    text += "warning: " + warning + "\n";
  if (!config.trains("vae")) {
    const std::string cut =
        warning_of(measure_captions(store, tokenizer, config, kLookedAt), config);
    if (!cut.empty()) text += "warning: " + cut + "\n";
  }
  std::fputs(text.c_str(), stderr);
}

}  // namespace kessoku::runtime
