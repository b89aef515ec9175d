#include "launcher/check_run.h"

#include "data/sampling/sampler.h"
#include "data/sampling/validation_split.h"
#include "launcher/model_folder.h"
#include "model/pipeline/inpainting.h"
#include "runtime/images/sample_prompts.h"
#include "runtime/run/compatibility.h"
#include "runtime/run/run_warnings.h"
#include "runtime/training/parameter_settings.h"
#include "runtime/training/training_schedule.h"

namespace kessoku::launcher {

void check_model(const runtime::RunConfig& config, const data::Store& store) {
  model::StableDiffusion model = model::load_model(resolve_model(model_options(config)));
  if (config.train.inpainting) model::widen_for_inpainting(model);
  runtime::set_training_schedule(config, model.schedule);
  runtime::require_fit(config, store, model);
  runtime::check_sample_prompts(config, model);
  runtime::trained_parameters(config, model);
}

std::vector<std::string> check_run(runtime::RunConfig config) {
  const data::Store store(config.data.store);
  const data::StoreManifest& manifest = store.manifest();
  const data::Examples examples =
      data::examples_of(manifest, store.rows(), data::hold_out(store, config.validation.fraction));
  const data::Mixture mixture =
      data::resolve_mixture(manifest.categories, examples, config.mixture.rules);
  const data::Sampler sampler(examples, mixture,
                              {config.seed, config.train.global_batch, config.mixture.pass_draws});
  runtime::resolve_steps(config, sampler.pass_draws());
  check_model(config, store);
  std::vector<std::string> warnings = runtime::run_warnings(config, store);
  for (const auto& more : {mixture.warnings, sampler.warnings(config.train.steps, manifest),
                           sampler.rare_folders(config.train.steps, manifest)})
    warnings.insert(warnings.end(), more.begin(), more.end());
  return warnings;
}

}  // namespace kessoku::launcher
