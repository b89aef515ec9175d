#pragma once

#include "data/loading/batch_maker.h"

namespace kessoku::data {

/// The held-out examples as batches that never change, to measure a model by: each example
/// kViews times, with noise of its own and a timestep from each quarter of their range. What is
/// random is keyed by the image's content alone, so neither seed nor other images nor ranks matter.
/// Captions are whole, in their own order; nothing is mirrored; loss scales do not count.
class ValidationSet {
 public:
  static constexpr uint64_t kViews = 4;

  /// `options`: what of a run's counts for batches, the rank's place among the ranks included.
  /// `held_out` by example (see data/sampling/validation_split.h); empty: there is nothing. Keeps a
  /// reference to `store`.
  ValidationSet(const Store& store, const std::vector<bool>& held_out, LoaderOptions options);

  /// Draws of all ranks: what a mean of their losses is over.
  uint64_t draws() const { return draws_; }
  /// Batches of this rank, of up to B draws of one bucket. Ranks may have one more or fewer.
  size_t batches() const { return batches_.size(); }
  /// Batch `i` < batches(). Its draws' numbers are of no run.
  Batch batch(size_t i) const;
  /// The place of batch `i`'s first draw among the draws of all ranks.
  uint64_t first_draw(size_t i) const { return first_draws_.at(i); }

 private:
  std::vector<uint32_t> neighbors(const Draw& draw) const;

  LoaderOptions options_;
  std::vector<std::vector<uint32_t>> by_bucket_;  // held-out examples
  std::vector<std::vector<Draw>> batches_;        // of this rank
  std::vector<uint64_t> first_draws_;             // of each batch
  uint64_t draws_ = 0;
  BatchMaker maker_;
};

}  // namespace kessoku::data
