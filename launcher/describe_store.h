#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace kessoku::launcher {

/// What `inspect STORE --json` prints: {"examples", "buckets": {"WxH": count}, "categories":
/// [{"path", "examples", "multiply"}], "skipped": [{"source", "reason"}], "warnings": []};
/// `examples` counts a category's whole subtree.
nlohmann::json describe_store(const std::filesystem::path& path);

/// Prints what the store would train on: a line "SOURCE<tab>CAPTION" for each image, or JSON,
/// [{"source", "caption"}].
void print_captions(const std::filesystem::path& path, bool json);

/// The same for a person: buckets, and the `most` largest top-level categories.
void print_store(const nlohmann::json& store, size_t most);

/// One line: what it keeps, and how.
void print_store_format(const std::filesystem::path& path);

/// Reads a whole store and prints what is damaged. `threads` 0: all cores. Throws DataError if
/// something is.
void verify_store(const std::filesystem::path& path, int threads, bool json);

/// JSON as text; bytes that are not UTF-8 (file names may hold any) are replaced.
std::string dump(const nlohmann::json& json);

}  // namespace kessoku::launcher
