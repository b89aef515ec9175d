#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/store/store_manifest.h"

namespace kessoku::launcher {

struct StoredCategory {
  std::string path;
  uint64_t examples = 0;  ///< of its whole subtree
  double multiply = 1;
  std::optional<double> weight;
  std::vector<data::Settings> settings;  ///< of its own images, where they say more
};

struct StoreContents {
  uint64_t examples = 0;
  std::map<std::string, uint64_t> buckets;  ///< examples by "WxH"
  std::vector<StoredCategory> categories;
  std::vector<data::Skipped> skipped;
  std::vector<std::string> warnings;
};

StoreContents describe_store(const std::filesystem::path& path);

/// What `inspect STORE --json` prints: {"examples", "buckets": {"WxH": count}, "categories":
/// [{"path", "examples", "multiply"}], "skipped": [{"source", "reason"}], "warnings": []}.
nlohmann::json to_json(const StoreContents& store);

/// Prints what the store would train on: a line "SOURCE<tab>CAPTION" for each image, or JSON,
/// [{"source", "caption"}].
void print_captions(const std::filesystem::path& path, bool json);

/// The same for a person: buckets, and the `most` largest top-level categories.
void print_store(const StoreContents& store, size_t most);

/// One line: what it keeps, and how.
void print_store_format(const std::filesystem::path& path);

/// Reads a whole store and prints what is damaged. `threads` 0: all cores. Throws DataError if
/// something is.
void verify_store(const std::filesystem::path& path, int threads, bool json);

}  // namespace kessoku::launcher
