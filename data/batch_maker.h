#pragma once

#include "data/loader.h"

namespace kessoku::data {

/// Turns draws into a batch: reads their rows, and makes all that is random about them, keyed by
/// (seed, purpose, draw number). Safe for concurrent use. What Loader's threads run.
class BatchMaker {
 public:
  /// Throws UsageError where the options contradict each other or the store lacks what they need.
  BatchMaker(const Store& store, const LoaderOptions& options);

  /// All of `draws` share one bucket.
  Batch make(uint64_t step, uint32_t micro, std::vector<Draw> draws) const;

 private:
  const Settings& settings_of(const Draw& draw) const;
  std::string caption_of(const Draw& draw) const;
  int64_t variant_of(const Draw& draw) const;
  bool flipped(const Draw& draw) const;
  void fill_images(Batch& batch) const;
  void fill_masks(Batch& batch) const;
  void fill_latents(Batch& batch) const;
  void fill_input_ids(Batch& batch) const;

  const Store& store_;
  LoaderOptions options_;
  Kind kind_;  // what is read
};

}  // namespace kessoku::data
