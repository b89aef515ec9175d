#pragma once

#include <filesystem>
#include <map>
#include <mutex>

#include "data/store/column.h"
#include "data/store/store.h"

namespace kessoku::data {

/// The rows of one kind in one bucket's group.
struct Payload {
  Kind kind{};
  std::string bucket{};
  uint64_t rows = 0;
  int64_t variants = 0;
  std::vector<int64_t> shape{};       ///< of one row of one variant
  uint64_t row_bytes = 0;             ///< of one variant
  std::optional<uint64_t> offset{};   ///< in the file, if rows lie there as they are
  std::vector<uint64_t> checksums{};  ///< (rows, variants)
  /// Of a row and variant among all of the payload.
  uint64_t index(uint64_t row, int64_t variant) const {
    return row * static_cast<uint64_t>(variants) + static_cast<uint64_t>(variant);
  }
};

/// Everything in a bucket's group but the rows themselves. Texts and what is seldom asked for stay
/// in the file.
struct BucketColumns {
  uint64_t rows = 0;
  TextColumn captions, caption_parts, sources;
  std::vector<uint32_t> category, settings;
  Column source_size, crop, content_hash;
  Column variant_crop, variant_flip;  ///< empty with one variant
  std::map<Kind, Payload> payloads;
  std::string digest;  ///< of the columns, as hex
};

/// One shard opened for reading. libhdf5 is asked once for the schema and the columns, and every
/// claim is held against the file's size before memory is taken for it. Rows are read past the
/// library; files in another layout (repacked, chunked) are read through it. `read` is safe for
/// concurrent use.
class ShardReader {
 public:
  /// Throws DataError naming the shard and what does not fit `entry`.
  ShardReader(const std::filesystem::path& store, const StoreManifest::Shard& entry,
              const StoreManifest& manifest);
  ShardReader(const ShardReader&) = delete;
  ~ShardReader();

  const std::map<std::string, BucketColumns>& buckets() const { return buckets_; }
  /// Category and settings of each row, for the caller to keep instead.
  void drop_indices();
  /// The captions, and their parts, are held in memory from now on.
  void hold_captions();
  /// The raw bytes of a row, not verified. `payload` is one of this shard's; `out` has
  /// Payload::row_bytes.
  void read(const Payload& payload, uint64_t row, int64_t variant, std::span<std::byte> out) const;
  const std::string& name() const { return name_; }

 private:
  void open(const std::filesystem::path& store, const StoreManifest::Shard& entry);
  void read_by_library(const Payload& payload, uint64_t row, int64_t variant, void* out) const;

  std::string name_;
  std::unique_ptr<RandomAccessFile> columns_file_;
  std::unique_ptr<RandomAccessFile> rows_file_;  ///< if rows are not beside their columns
  std::map<std::string, BucketColumns> buckets_;
  struct Library;  ///< kept open only if some rows need it
  std::unique_ptr<Library> library_;
};

}  // namespace kessoku::data
