#include "launcher/describe_store.h"

#include <map>

#include "data/store.h"

namespace kessoku::launcher {

using nlohmann::json;

namespace {

/// Examples of each category's subtree, by path.
std::map<std::string, uint64_t> count_subtrees(const data::Store& store) {
  std::map<std::string, uint64_t> counts;
  for (const data::Row& row : store.rows()) {
    std::string path = store.manifest().categories[row.category].path;
    while (path != ".") {
      ++counts[path];
      const size_t slash = path.rfind('/');
      path = slash == std::string::npos ? "." : path.substr(0, slash);
    }
    ++counts["."];
  }
  return counts;
}

}  // namespace

json describe_store(const std::filesystem::path& path) {
  const data::Store store(path);
  const data::StoreManifest& manifest = store.manifest();
  json result{{"examples", store.size()},
              {"buckets", json::object()},
              {"categories", json::array()},
              {"skipped", json::array()}};
  std::vector<uint64_t> by_bucket(manifest.buckets.size());
  for (const data::Row& row : store.rows()) ++by_bucket[row.bucket];
  for (size_t b = 0; b < by_bucket.size(); ++b) {
    result["buckets"][to_string(manifest.buckets[b])] = by_bucket[b];
  }
  std::map<std::string, uint64_t> counts = count_subtrees(store);
  for (const data::Category& category : manifest.categories) {
    result["categories"].push_back({{"path", category.path},
                                    {"examples", counts[category.path]},
                                    {"multiply", category.multiply}});
  }
  for (const data::Skipped& entry : manifest.skipped) {
    result["skipped"].push_back({{"source", entry.source}, {"reason", entry.reason}});
  }
  return result;
}

void print_store(const json& store, size_t most) {
  fmt::print("  bucket        images\n");
  for (const auto& [bucket, count] : store["buckets"].items()) {
    fmt::print("  {:<12}{:>8}\n", bucket, count.get<uint64_t>());
  }
  std::vector<json> categories = store["categories"];
  std::ranges::stable_sort(categories, std::greater<>(), [](const json& category) {
    return category["examples"].get<uint64_t>();
  });
  fmt::print("  category                                  images  multiply\n");
  for (size_t i = 0; i < std::min(most, categories.size()); ++i) {
    const json& category = categories[i];
    fmt::print("  {:<40}{:>8}  {:>8.4g}\n", category["path"].get<std::string>(),
               category["examples"].get<uint64_t>(), category["multiply"].get<double>());
  }
  if (categories.size() > most) fmt::print("  ... and {} more\n", categories.size() - most);
}

std::string dump(const json& document) {
  return document.dump(1, ' ', false, json::error_handler_t::replace);
}

}  // namespace kessoku::launcher
