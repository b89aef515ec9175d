#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace kessoku::data {

struct StoreVerification {
  uint64_t examples = 0;  ///< that were read
  uint64_t bytes = 0;     ///< of their rows
  /// Rows and whole shards that are not sound: file, place, name, reason.
  std::vector<std::string> damages;
};

/// Reads a whole store: manifest, columns, and every row against its checksum, on `threads`
/// threads. `on_progress` gets the examples done and in all; not called at once from two threads.
/// Throws UsageError if there is no store, DataError if its manifest is damaged.
StoreVerification verify_store(const std::filesystem::path& path, int threads,
                               const std::function<void(uint64_t, uint64_t)>& on_progress);

}  // namespace kessoku::data
