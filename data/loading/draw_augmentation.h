#pragma once

#include <string>

#include "data/loading/loader.h"
#include "data/store/store.h"

namespace kessoku::data {

/// What is decided about a draw besides its noise: variant, mirroring, caption, timestep. All keyed
/// by (seed, purpose, draw number); where the dataset has a setting of its own, that counts. Safe
/// for concurrent use.
class DrawAugmentation {
 public:
  /// Keeps references. Throws UsageError for numbers that are no probabilities, a `flip` that
  /// nothing can follow, and an empty word to be renamed.
  DrawAugmentation(const Store& store, const LoaderOptions& options);

  /// Settings of the draw's example; plain ones if the options say that they do not count.
  const Settings& settings_of(const Draw& draw) const;
  /// Which of the store's crops and mirror images. Where nobody asks for a probability of
  /// mirroring, all are drawn alike.
  int64_t variant_of(const Draw& draw) const;
  /// Whether pixels are to be mirrored: of stores that hold no mirrored variants.
  bool mirrors_pixels(const Draw& draw) const;
  /// Renamed, its tags shuffled, or dropped.
  std::string caption_of(const Draw& draw) const;
  int64_t timestep_of(const Draw& draw) const;

 private:
  bool has_mirrored_variants() const { return store_.variants() > 1; }
  /// The probability of mirroring, if somebody says one.
  std::optional<double> flip_of(const Draw& draw) const;
  bool mirrored(const Draw& draw, double probability) const;

  const Store& store_;
  const LoaderOptions& options_;
};

}  // namespace kessoku::data
