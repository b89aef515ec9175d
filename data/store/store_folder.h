#pragma once

#include <filesystem>
#include <set>

#include "data/store/store.h"

namespace kessoku::data {

/// Held by the process that writes a store; it goes with the process, however that ends.
class StoreLock {
 public:
  /// Throws UsageError naming the other process if one holds it; warns where there are no locks.
  explicit StoreLock(const std::filesystem::path& store);
  StoreLock(const StoreLock&) = delete;
  ~StoreLock();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Makes the folder of a store if it is not there. Throws UsageError if it cannot, or if the folder
/// holds anything else, such as the dataset.
void open_store_folder(const std::filesystem::path& store);

/// Removes what `manifest` does not name: old shards, and, if it is `done`, interrupted work.
void remove_leftovers(const std::filesystem::path& store, const StoreManifest& manifest, bool done);

/// A name for a new shard, `number` being the rank that writes it, that no shard or interrupted
/// work has.
std::filesystem::path free_shard_path(const std::filesystem::path& store, int number);

}  // namespace kessoku::data
