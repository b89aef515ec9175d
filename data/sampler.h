#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/mixture.h"

namespace kessoku::data {

/// One use of one example.
struct Draw {
  uint64_t number;   ///< d = step · G + place: all that is random about the draw is keyed by it
  uint64_t pass;     ///< of its bucket's stream
  uint32_t example;  ///< index into Store::rows()
  uint32_t bucket;   ///< index into the manifest's buckets
};

struct SamplerOptions {
  uint64_t seed = 555;
  uint64_t global_batch = 4;  ///< G
  uint64_t pass_draws = 0;    ///< 0 = so long that the rarest image is drawn once
};

/// The distributed weighted sampler: which example draw d is, as a pure function of (seed, store,
/// mixture, G). See docs/mixture.md and laws 2 to 4 of the design. All draws of a step share one
/// bucket.
///
/// Steps are dealt to the buckets in proportion to their shares (data/interleave.h). Each bucket
/// has an endless stream of draws, of which each of its steps takes the next G; the stream is the
/// concatenation of its passes. How often an image is drawn in a pass has a closed form
/// (data/quota.h), and so have the order within a pass (data/permutation.h) and the lengths of all
/// passes before, so any step is found without walking. Memory: 4 bytes an example.
class Sampler {
 public:
  /// `buckets` is their number in the manifest. Throws UsageError for a global batch of 0 or a pass
  /// length out of range, DataError for rows that do not fit the mixture or the buckets.
  Sampler(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture,
          const SamplerOptions& options);
  Sampler(Sampler&&) noexcept;
  ~Sampler();

  /// The G draws of `step` (0, 1, …). Any order of calls; the next step after the last is fastest.
  /// Not for concurrent use.
  std::vector<Draw> step(uint64_t step);

  uint64_t global_batch() const;
  uint64_t pass_draws() const;
  /// Share of the steps that each bucket takes.
  const std::vector<double>& bucket_share() const;
  /// Starved buckets and images that the run will hardly see, for a run of `steps`; `manifest`
  /// gives the names.
  std::vector<std::string> warnings(uint64_t steps, const StoreManifest& manifest) const;
  /// The same with numbers for names.
  std::vector<std::string> warnings(uint64_t steps) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
