#include "data/plan.h"

#include <map>

namespace kessoku::data {
namespace {

// Adds each folder's count to all folders above it.
void sum_up(const std::vector<Category>& categories, std::vector<uint64_t>& counts) {
  std::map<std::string_view, size_t> by_path;
  for (size_t i = 0; i < categories.size(); ++i) by_path[categories[i].path] = i;
  const std::vector<uint64_t> own = counts;
  for (size_t i = 0; i < categories.size(); ++i) {
    std::string_view path = categories[i].path;
    while (path != ".") {
      const size_t slash = path.rfind('/');
      path = slash == path.npos ? "." : path.substr(0, slash);
      if (const auto above = by_path.find(path); above != by_path.end())
        counts[above->second] += own[i];
    }
  }
}

}  // namespace

Plan make_plan(const StoreManifest& manifest, const std::vector<Row>& rows, Sampler& sampler,
               uint64_t draws, const std::function<void(const Draw&)>& each) {
  Plan plan;
  plan.draws = draws;
  plan.category_draws.resize(manifest.categories.size());
  plan.bucket_examples.resize(manifest.buckets.size());
  for (const Row& row : rows) ++plan.bucket_examples[row.bucket];
  std::vector<bool> seen(rows.size(), false);
  for (uint64_t step = 0; step * sampler.global_batch() < draws; ++step) {
    for (const Draw& draw : sampler.step(step)) {
      if (draw.number >= draws) break;
      ++plan.category_draws[rows[draw.example].category];
      plan.examples_drawn += !seen[draw.example];
      seen[draw.example] = true;
      if (each) each(draw);
    }
  }
  sum_up(manifest.categories, plan.category_draws);
  return plan;
}

}  // namespace kessoku::data
