#pragma once

#include <memory>

#include "data/store/store.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/config/config.h"
#include "runtime/training/loss.h"

namespace kessoku::runtime {

/// The model of a run, as its run file says that it is trained.
class TrainingModel {
 public:
  /// Loads it, on the CPU. Throws UsageError, naming keys, where model, store and run file do not
  /// go together: `kessoku train` has nothing more to say against them. Keeps a reference to
  /// `config`.
  TrainingModel(const RunConfig& config, const data::Store& store,
                const model::ModelSource& source);
  TrainingModel(const TrainingModel&) = delete;
  TrainingModel& operator=(const TrainingModel&) = delete;

  /// Makes it ready to be trained on `device`, in the run's precision.
  void prepare(at::Device device);

  model::StableDiffusion& model() { return model_; }
  const model::StableDiffusion& model() const { return model_; }
  /// The parameters that are trained, as "unet.conv_in.weight".
  const model::Parameters& trained() const { return trained_; }
  /// All others.
  model::Parameters untrained() const;
  /// What is made small; after `prepare`.
  Objective& objective() { return *objective_; }

 private:
  bool is_trained(const model::Parameter& parameter) const;
  void round_untrained();

  const RunConfig& config_;
  model::StableDiffusion model_;
  model::Parameters trained_;
  std::unique_ptr<Objective> objective_;
};

}  // namespace kessoku::runtime
