#pragma once

#include <functional>
#include <vector>

#include "data/sampler.h"

namespace kessoku::data {

/// What a run will draw, counted on its real schedule.
struct Plan {
  uint64_t draws = 0;
  std::vector<uint64_t> category_draws;   ///< by category: of its whole subtree
  std::vector<uint64_t> bucket_examples;  ///< by bucket
  uint64_t examples_drawn = 0;            ///< different ones
};

/// Walks through the first `draws` draws; `each` sees every one of them in order.
Plan make_plan(const StoreManifest& manifest, const std::vector<Row>& rows, Sampler& sampler,
               uint64_t draws, const std::function<void(const Draw&)>& each = {});

}  // namespace kessoku::data
