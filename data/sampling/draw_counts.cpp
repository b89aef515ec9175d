#include "data/sampling/draw_counts.h"

#include <map>

#include "base/text.h"

namespace kessoku::data {
namespace {

void merge(DrawCounts::Part& sum, const DrawCounts::Part& part, bool first) {
  sum.draws += part.draws;
  sum.never_drawn += part.never_drawn;
  sum.held_out += part.held_out;
  sum.fewest_views = first ? part.fewest_views : std::min(sum.fewest_views, part.fewest_views);
  sum.most_views = std::max(sum.most_views, part.most_views);
}

// Parts that were added up, and whether any of their examples has a share.
struct Parts {
  explicit Parts(size_t count) : parts(count), any(count, false) {}
  void add(size_t index, const DrawCounts::Part& part, bool has_share) {
    if (has_share) {
      merge(parts[index], part, !any[index]);
      any[index] = true;
    } else {
      parts[index].held_out += part.held_out;
    }
  }
  std::vector<DrawCounts::Part> parts;
  std::vector<bool> any;
};

// Adds each folder to all folders above it.
Parts sum_up(const std::vector<Category>& categories, const Parts& own) {
  std::map<std::string_view, size_t> by_path;
  for (size_t i = 0; i < categories.size(); ++i) by_path[categories[i].path] = i;
  Parts sums = own;
  for (size_t i = 0; i < categories.size(); ++i) {
    std::string_view path = categories[i].path;
    while (path != ".") {
      const size_t slash = path.rfind('/');
      path = slash == path.npos ? "." : path.substr(0, slash);
      if (const auto above = by_path.find(path); above != by_path.end())
        sums.add(above->second, own.parts[i], own.any[i]);
    }
  }
  return sums;
}

}  // namespace

DrawCounts count_draws(const StoreManifest& manifest, const std::vector<Row>& rows,
                       const Examples& examples, const Mixture& mixture, Sampler& sampler,
                       uint64_t draws, const std::function<void(const Draw&)>& each) {
  DrawCounts plan;
  plan.draws = draws;
  plan.pass_draws = sampler.pass_draws();
  std::vector<uint32_t> views(rows.size(), 0);
  for (uint64_t step = 0; step * sampler.global_batch() < draws; ++step) {
    for (const Draw& draw : sampler.step(step)) {
      if (draw.number >= draws) break;
      plan.examples_drawn += views[draw.example]++ == 0;
      if (each) each(draw);
    }
  }
  Parts own(manifest.categories.size()), buckets(manifest.buckets.size());
  plan.bucket_examples.resize(manifest.buckets.size());
  for (uint64_t i = 0; i < rows.size(); ++i) {
    const ExampleKey key = examples.at(i);
    const bool has_share = mixture.leaf_of(key).has_value();
    const DrawCounts::Part part{.draws = views[i],
                                .never_drawn = has_share && views[i] == 0,
                                .held_out = key.held_out,
                                .fewest_views = views[i],
                                .most_views = views[i]};
    own.add(rows[i].category, part, has_share);
    buckets.add(rows[i].bucket, part, has_share);
    ++plan.bucket_examples[rows[i].bucket];
  }
  plan.folders = sum_up(manifest.categories, own).parts;
  plan.own = std::move(own.parts);
  plan.buckets = std::move(buckets.parts);
  return plan;
}

std::vector<std::string> draw_count_warnings(const StoreManifest& manifest, const Mixture& mixture,
                                             const DrawCounts& plan) {
  std::vector<std::string> lines;
  bool due_ones = false;
  for (size_t i = 0; i < plan.own.size(); ++i) {
    const uint64_t never = plan.own[i].never_drawn;
    if (never == 0) continue;
    const double due = mixture.own_share[i] * static_cast<double>(plan.draws) /
                       static_cast<double>(mixture.own_examples[i]);
    due_ones |= due >= 1;
    lines.push_back(
        fmt::format("folder \"{}\": {} of its {} images are never drawn within the run; each is "
                    "due {:.2g} times",
                    manifest.categories[i].path, never, mixture.own_examples[i], due));
  }
  lines = shortened(std::move(lines), "folders with images that are never drawn");
  if (due_ones && plan.pass_draws > plan.draws) {
    lines.push_back(fmt::format(
        "only whole passes are exact for each image, and a pass of {} draws (as long as the rarest "
        "image needs) is longer than the run: mixture.pass_draws = {} makes the run one pass",
        plan.pass_draws, plan.draws));
  }
  return lines;
}

}  // namespace kessoku::data
