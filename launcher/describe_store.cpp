#include "launcher/describe_store.h"

#include <fmt/ranges.h>

#include <map>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "data/store/store.h"
#include "data/store/store_manifest.h"
#include "data/store/store_verify.h"
#include "data/store/store_warnings.h"
#include "metrics/progress.h"

namespace kessoku::launcher {

using nlohmann::json;

namespace {

/// Examples of each category's subtree, by path. `own`: by category, without sub-folders.
std::map<std::string, uint64_t> count_subtrees(const data::StoreManifest& manifest,
                                               const std::vector<uint64_t>& own) {
  std::map<std::string, uint64_t> counts;
  for (size_t c = 0; c < own.size(); ++c) {
    std::string path = manifest.categories[c].path;
    while (path != ".") {
      counts[path] += own[c];
      const size_t slash = path.rfind('/');
      path = slash == std::string::npos ? "." : path.substr(0, slash);
    }
    counts["."] += own[c];
  }
  return counts;
}

/// What is said about a category's own images beyond their multiplier: their settings, all
/// different. Empty if nothing is.
std::vector<std::set<uint32_t>> settings_by_category(const data::Store& store) {
  const data::StoreManifest& manifest = store.manifest();
  std::vector<std::set<uint32_t>> result(manifest.categories.size());
  for (const data::Row& row : store.rows()) {
    const data::Settings& settings = manifest.settings[row.settings];
    if (settings != data::Settings{.multiply = manifest.categories[row.category].multiply})
      result[row.category].insert(row.settings);
  }
  return result;
}

/// "dropout 0.1, batch \"night\"", for people.
std::string summarize(const StoredCategory& category) {
  std::vector<std::string> notes;
  if (category.settings.size() > 1)
    notes.push_back(fmt::format("{} kinds of settings", category.settings.size()));
  if (category.settings.size() == 1) {
    const json settings = to_json(category.settings[0]);
    for (const auto& [key, value] : settings.items()) {
      const bool plain =
          key == "multiply" ? value == category.multiply : key == "loss_scale" && value == 1.0;
      if (!plain) notes.push_back(fmt::format("{} {}", key, to_text(value)));
    }
  }
  return fmt::format("{}", fmt::join(notes, ", "));
}

}  // namespace

StoreContents describe_store(const std::filesystem::path& path) {
  const data::Store store(path);
  const data::StoreManifest& manifest = store.manifest();
  StoreContents result{.examples = store.size(),
                       .buckets = {},
                       .categories = {},
                       .skipped = manifest.skipped,
                       .warnings = data::store_warnings(store)};
  for (const data::Bucket& bucket : manifest.buckets) result.buckets[to_string(bucket)] = 0;
  std::vector<uint64_t> by_category(manifest.categories.size());
  for (const data::Row& row : store.rows()) {
    ++result.buckets[to_string(manifest.buckets[row.bucket])];
    ++by_category[row.category];
  }
  std::map<std::string, uint64_t> counts = count_subtrees(manifest, by_category);
  const std::vector<std::set<uint32_t>> settings = settings_by_category(store);
  for (size_t c = 0; c < manifest.categories.size(); ++c) {
    const data::Category& category = manifest.categories[c];
    StoredCategory entry{.path = category.path,
                         .examples = counts[category.path],
                         .multiply = category.multiply,
                         .weight = category.weight,
                         .settings = {}};
    for (const uint32_t index : settings[c]) entry.settings.push_back(manifest.settings[index]);
    result.categories.push_back(std::move(entry));
  }
  return result;
}

json to_json(const StoreContents& store) {
  json result{{"examples", store.examples},
              {"buckets", store.buckets},
              {"categories", json::array()},
              {"skipped", json::array()},
              {"warnings", store.warnings}};
  for (const StoredCategory& category : store.categories) {
    json entry{
        {"path", category.path}, {"examples", category.examples}, {"multiply", category.multiply}};
    if (category.weight) entry["weight"] = *category.weight;
    for (const data::Settings& settings : category.settings)
      entry["settings"].push_back(to_json(settings));
    result["categories"].push_back(std::move(entry));
  }
  for (const data::Skipped& entry : store.skipped)
    result["skipped"].push_back({{"source", entry.source}, {"reason", entry.reason}});
  return result;
}

void print_captions(const std::filesystem::path& path, bool as_json) {
  const data::Store store(path);
  json list = json::array();
  for (size_t i = 0; i < store.size(); ++i) {
    std::string caption = store.caption(i);
    if (as_json) {
      list.push_back({{"source", store.source(i)}, {"caption", std::move(caption)}});
    } else {
      std::ranges::replace(caption, '\n', ' ');
      fmt::print("{}\t{}\n", store.source(i), caption);
    }
  }
  if (as_json) fmt::print("{}\n", to_text(list, 1));
}

void print_store(const StoreContents& store, size_t most) {
  fmt::print("  bucket        images\n");
  for (const auto& [bucket, count] : store.buckets) fmt::print("  {:<12}{:>8}\n", bucket, count);
  std::vector<StoredCategory> categories = store.categories;
  std::ranges::stable_sort(categories, std::greater<>(), &StoredCategory::examples);
  // With weights of folders, multipliers only count within one, and are told where they differ.
  const bool weighted = std::ranges::any_of(
      categories, [](const StoredCategory& category) { return category.weight.has_value(); });
  fmt::print("  {:<40}{:>8}  {:>8}\n", "category", "images", weighted ? "weight" : "multiply");
  for (size_t i = 0; i < std::min(most, categories.size()); ++i) {
    const StoredCategory& category = categories[i];
    const std::string notes = summarize(category);
    fmt::print("  {:<40}{:>8}  {:>8.4g}{}{}\n", category.path, category.examples,
               weighted ? category.weight.value_or(1) : category.multiply,
               notes.empty() ? "" : "  ", notes);
  }
  if (categories.size() > most)
    fmt::print("  ... and {} more, see kessoku inspect\n", categories.size() - most);
}

void print_store_format(const std::filesystem::path& path) {
  const auto manifest = data::StoreManifest::read(path);
  uint64_t bytes = 0;
  for (const auto& shard : manifest.shards) bytes += shard.bytes + shard.rows_bytes;
  std::vector<std::string> kept;
  for (const data::Kind kind : manifest.kept) kept.push_back(to_string(kind));
  fmt::print("  format {}, {} of resolution {}, dialect {}, {} in {} shard{}\n", manifest.version,
             fmt::join(kept, ", "), manifest.resolution, to_string(manifest.dialect),
             metrics::format_bytes(bytes), manifest.shards.size(),
             manifest.shards.size() == 1 ? "" : "s");
}

void verify_store(const std::filesystem::path& path, int threads, bool as_json) {
  std::unique_ptr<metrics::Progress> line;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const data::StoreVerification found =
      data::verify_store(path, threads > 0 ? threads : cores, [&](uint64_t done, uint64_t total) {
        if (!line) line = std::make_unique<metrics::Progress>("verify", "examples", total);
        line->update(done);
      });
  line.reset();
  if (as_json) {
    fmt::print(
        "{}\n",
        to_text({{"examples", found.examples}, {"bytes", found.bytes}, {"damages", found.damages}},
                1));
  } else {
    for (const std::string& damage : found.damages) fmt::print("{}\n", damage);
  }
  if (!found.damages.empty()) {
    throw DataError(fmt::format(
        "{}: {} damaged rows or shards; kessoku prepare with the same dataset and --out "
        "makes them again",
        path.string(), found.damages.size()));
  }
  if (!as_json)
    fmt::print("{}: sound, {} examples, {} read\n", path.string(), found.examples,
               metrics::format_bytes(found.bytes));
}

}  // namespace kessoku::launcher
