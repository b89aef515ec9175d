#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>

#include "data/store.h"

namespace kessoku::data {

/// The columns of a row that is to be written.
struct RowInfo {
  std::string caption;
  std::string source;
  uint32_t category = 0;
  uint32_t settings = 0;
  std::string caption_parts{};
  Provenance provenance{};
};

/// Writes one shard: buckets one after another, rows of a bucket in any order. The file appears
/// under its name, whole and on disk, when `finish` returns; until then it is `<name>.tmp`. One
/// variant a row. Not for concurrent use. Throws DataError naming the shard when the system
/// refuses.
class ShardWriter {
 public:
  ShardWriter(const std::filesystem::path& path, std::vector<Kind> kept);
  ShardWriter(const ShardWriter&) = delete;
  ~ShardWriter();  ///< without `finish` the unfinished file is removed

  /// Begins the group of `bucket`, which must not have been begun before: allocates all rows and
  /// writes the columns. `shapes` are of one row of each kept kind, e.g. (2C, h, w).
  void begin_bucket(const Bucket& bucket, const std::vector<RowInfo>& rows,
                    const std::map<Kind, std::vector<int64_t>>& shapes);
  /// `bytes` as `Store::read` gives them.
  void write(uint64_t row, Kind kind, std::span<const std::byte> bytes);
  /// Returns the shard's entry in the manifest.
  StoreManifest::Shard finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
