#include "data/sampling/example_index.h"

#include <algorithm>

#include "base/error.h"

namespace kessoku::data {
namespace {

void check(const Row& row, uint64_t example, const StoreManifest& manifest) {
  const auto require = [&](const char* what, uint32_t index, size_t count) {
    if (index < count) return;
    throw DataError(fmt::format("example {}: {} {}, but the store has {}; prepare it again",
                                example, what, index, count));
  };
  require("category", row.category, manifest.categories.size());
  require("bucket", row.bucket, manifest.buckets.size());
  require("settings", row.settings, manifest.settings.size());
}

}  // namespace

Examples examples_of(const StoreManifest& manifest, const std::vector<Row>& rows,
                     std::vector<bool> held_out) {
  Examples examples{.size = rows.size()};
  std::vector<std::string> families;
  for (const Settings& settings : manifest.settings) families.push_back(settings.batch_id);
  std::ranges::sort(families);
  families.erase(std::ranges::unique(families).begin(), families.end());
  for (const std::string& family : families) {
    for (uint32_t bucket = 0; bucket < manifest.buckets.size(); ++bucket)
      examples.groups.push_back({bucket, family});
  }
  std::vector<uint32_t> first_group;  // by settings
  for (const Settings& settings : manifest.settings) {
    const auto family = std::ranges::lower_bound(families, settings.batch_id) - families.begin();
    first_group.push_back(
        static_cast<uint32_t>(static_cast<size_t>(family) * manifest.buckets.size()));
  }
  examples.at = [&manifest, &rows, first_group, held = std::move(held_out)](uint64_t example) {
    const Row& row = rows[example];
    check(row, example, manifest);
    return ExampleKey{row.category, first_group[row.settings] + row.bucket,
                      manifest.settings[row.settings].multiply, !held.empty() && held[example]};
  };
  return examples;
}

}  // namespace kessoku::data
