#pragma once

#include <functional>
#include <vector>

#include "data/sampling/sampler.h"

namespace kessoku::data {

/// What a run will draw, counted on its real schedule.
struct DrawCounts {
  struct Part {
    uint64_t draws = 0;
    uint64_t never_drawn = 0;  ///< examples that the mixture gives a share, but this run none
    uint64_t held_out = 0;     ///< examples kept for validation
    uint64_t fewest_views = 0, most_views = 0;  ///< of an example that has a share
  };
  uint64_t draws = 0;
  uint64_t pass_draws = 0;      ///< the sampler's
  uint64_t examples_drawn = 0;  ///< different ones
  std::vector<Part> folders;    ///< by category, of its whole subtree
  std::vector<Part> own;        ///< by category, of its own images
  std::vector<Part> buckets;    ///< by bucket
  std::vector<uint64_t> bucket_examples;
};

/// Walks through the first `draws` draws; `each` sees every one of them in order. Memory: 4 bytes
/// an example.
DrawCounts count_draws(const StoreManifest& manifest, const std::vector<Row>& rows,
                       const Examples& examples, const Mixture& mixture, Sampler& sampler,
                       uint64_t draws, const std::function<void(const Draw&)>& each = {});

/// Which images the run never draws, by folder.
std::vector<std::string> draw_count_warnings(const StoreManifest& manifest, const Mixture& mixture,
                                             const DrawCounts& plan);

}  // namespace kessoku::data
