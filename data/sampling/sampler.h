#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/sampling/mixture.h"

namespace kessoku::data {

/// One use of one example.
struct Draw {
  uint64_t number;   ///< d = step · G + place: all that is random about the draw is keyed by it
  uint64_t pass;     ///< of its group's stream
  uint32_t example;  ///< index into Store::rows()
  uint32_t bucket;   ///< index into the manifest's buckets
};

struct SamplerOptions {
  uint64_t seed = 0;
  uint64_t global_batch = 4;  ///< G
  uint64_t pass_draws = 0;    ///< 0 = so long that the rarest image is drawn once
  int threads = 1;            ///< that prepare it; they make no difference to the draws
};

/// The distributed weighted sampler: which example draw d is, as a pure function of (seed, store,
/// mixture, G). See docs/mixture.md and laws 2 to 4 of the design. All draws of a step share one
/// bucket (and, if the dataset has families of batches, one of them: a group).
///
/// Steps are dealt to the groups in proportion to their shares (data/sampling/interleave.h). Each
/// group has an endless stream of draws, of which each of its steps takes the next G; the stream is
/// the concatenation of its passes. How often an image is drawn in a pass has a closed form
/// (data/sampling/quota.h), and so have the order within a pass
/// (data/sampling/low_discrepancy_order.h, data/sampling/permutation.h) and the lengths of all
/// passes before, so any step is found without walking. Memory: 4 bytes an example, and some 100 a
/// folder, multiplier and group.
class Sampler {
 public:
  /// `examples` are those of which `mixture` was made. Throws UsageError for a global batch of 0 or
  /// a pass length out of range, DataError for examples that do not fit their groups.
  Sampler(const Examples& examples, const Mixture& mixture, const SamplerOptions& options);
  Sampler(Sampler&&) noexcept;
  ~Sampler();

  /// The G draws of `step` (0, 1, …). Any order of calls; the next step after the last is fastest.
  /// Not for concurrent use.
  std::vector<Draw> step(uint64_t step);

  /// The examples that may stand in for one that cannot be read, best first: some of its folder,
  /// multiplier and group, then some of its group in proportion to their shares. A function of
  /// the draw, like everything. Safe for concurrent use. Slow.
  std::vector<uint32_t> substitutes(const Draw& draw) const;

  uint64_t global_batch() const;
  uint64_t pass_draws() const;
  const std::vector<Group>& groups() const;
  /// Share of the steps that each group takes.
  const std::vector<double>& group_share() const;
  /// Starved groups, and a pass that had to be cut short, for a run of `steps`; `manifest` gives
  /// the names.
  std::vector<std::string> warnings(uint64_t steps, const StoreManifest& manifest) const;
  /// Folders whose images a run of `steps` draws less than once on average.
  std::vector<std::string> rare_folders(uint64_t steps, const StoreManifest& manifest) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
