#pragma once

#include <memory>
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
  uint64_t global_batch = 4;   ///< G
  uint64_t pass_draws = 0;     ///< 0 = so long that the rarest image is drawn once
};

/// The distributed weighted sampler: which example draw d is, as a pure function of (seed, store, mixture, G). See docs/mixture.md
/// and laws 2 to 4 of the design. All draws of a step share one bucket.
class Sampler {
 public:
  Sampler(const std::vector<Row>& rows, size_t buckets, const Mixture& mixture, const SamplerOptions& options);
  Sampler(Sampler&&) noexcept;
  ~Sampler();

  /// The G draws of `step` (0, 1, …). Any order of calls; the next step after the last is fastest. Not for concurrent use.
  std::vector<Draw> step(uint64_t step);

  uint64_t pass_draws() const;
  /// Share of the steps that each bucket takes.
  const std::vector<double>& bucket_share() const;
  /// Starved buckets and images that the run will hardly see, for a run of `steps`.
  std::vector<std::string> warnings(uint64_t steps) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
