#pragma once

#include <string>
#include <vector>

#include "data/sampling/mixture.h"
#include "data/sampling/sampler.h"
#include "data/store/store.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// What a run draws from: the images of its store that are not held out for validation, in the
/// shares of its mixture.
struct TrainingData {
  /// Sets config.train.steps to what train.passes asks for. Throws UsageError where the store and
  /// the run file do not go together, DataError if the store is damaged.
  explicit TrainingData(RunConfig& config);
  TrainingData(const TrainingData&) = delete;
  TrainingData& operator=(const TrainingData&) = delete;

  /// The sampler of a config that may have another global batch.
  data::Sampler sampler_of(const RunConfig& config) const;
  /// What a person should know of the run file, the store, the mixture and the sampler.
  std::vector<std::string> warnings(const RunConfig& config) const;

  const data::Store store;
  const std::vector<bool> held_out;  ///< by example
  const data::Examples examples;     ///< those that are trained on
  const data::Mixture mixture;
  data::Sampler sampler;
};

}  // namespace kessoku::runtime
