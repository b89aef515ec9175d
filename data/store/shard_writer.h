#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>

#include "data/store/store.h"

namespace kessoku::data {

/// The columns of a row that is to be written.
struct RowInfo {
  std::string caption;
  std::string source;
  uint32_t category = 0;
  uint32_t settings = 0;
  std::string caption_parts{};
  Provenance provenance{};
  std::vector<Variant> variants{};  ///< may be empty if there is one
};

/// What rows a shard is to hold.
struct ShardLayout {
  struct Group {
    Bucket bucket;
    uint64_t rows;
    /// Of one row of one variant of each kept kind, e.g. (2C, h, w).
    std::map<Kind, std::vector<int64_t>> shapes;
  };
  std::vector<Kind> kept;
  int64_t variants = 1;
  std::vector<Group> groups;  ///< none empty, no bucket twice
};

/// Bytes of one variant of a row.
uint64_t row_bytes(Kind kind, const std::vector<int64_t>& shape);

/// Writes one shard: first rows, in any order, from any thread; then the columns. Until `finish` it
/// is `<path>.part`; `finish` renames it when all is on disk. Rows lie in the part where they will
/// lie in the shard, so that an interrupted part is worth keeping. Throws Error
/// (kCannotWrite) naming the file.
class ShardWriter {
 public:
  /// Begins a new part and takes the disk space of its rows.
  ShardWriter(const std::filesystem::path& path, ShardLayout layout,
              const std::string& part_suffix = ".part");
  /// Goes on with a part that another writer of this layout began. Null if there is none.
  static std::unique_ptr<ShardWriter> resume(const std::filesystem::path& path, ShardLayout layout);
  ShardWriter(const ShardWriter&) = delete;
  ~ShardWriter();

  const ShardLayout& layout() const;
  const std::filesystem::path& path() const;
  /// Where the first row of a group lies in the file.
  uint64_t offset(size_t group, Kind kind) const;
  /// Writes `bytes` as `Store::read` gives them; returns their checksum. For concurrent use with
  /// different rows.
  uint64_t write(size_t group, uint64_t row, Kind kind, int64_t variant,
                 std::span<const std::byte> bytes);
  /// The checksum of a row that the part has already.
  void take(size_t group, uint64_t row, Kind kind, int64_t variant, uint64_t checksum);
  /// Writes a row of this part into a row of another's. Throws DataError if it reads otherwise than
  /// it was written.
  void copy(size_t group, uint64_t row, ShardWriter& to, size_t to_group, uint64_t to_row) const;
  uint64_t checksum_of(size_t group, uint64_t row, Kind kind, int64_t variant) const;
  /// Adds the columns, `rows` by group, and returns the shard's entry in the manifest.
  StoreManifest::Shard finish(const std::vector<std::vector<RowInfo>>& rows);

 private:
  struct Impl;
  explicit ShardWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
