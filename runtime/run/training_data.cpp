#include "runtime/run/training_data.h"

#include "data/sampling/validation_split.h"
#include "runtime/run/run_warnings.h"
#include "runtime/training/training_schedule.h"

namespace kessoku::runtime {

TrainingData::TrainingData(RunConfig& config)
    : store(config.data.store),
      held_out(data::hold_out(store, config.validation.fraction)),
      examples(data::examples_of(store.manifest(), store.rows(), held_out)),
      mixture(data::resolve_mixture(store.manifest().categories, examples, config.mixture.rules,
                                    static_cast<int>(config.data.threads))),
      sampler(sampler_of(config)) {
  resolve_steps(config, sampler.pass_draws());
}

data::Sampler TrainingData::sampler_of(const RunConfig& config) const {
  return {examples,
          mixture,
          {config.seed, config.train.global_batch, config.mixture.pass_draws,
           static_cast<int>(config.data.threads)}};
}

std::vector<std::string> TrainingData::warnings(const RunConfig& config) const {
  std::vector<std::string> all = run_warnings(config, store);
  for (const std::vector<std::string>& more :
       {mixture.warnings, sampler.warnings(config.train.steps, store.manifest()),
        sampler.rare_folders(config.train.steps, store.manifest())})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace kessoku::runtime
