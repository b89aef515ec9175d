#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "data/dataset/dataset.h"
#include "data/images/bucket.h"

namespace kessoku::data {

/// What a store keeps of each example.
enum class Kind { kImages, kLatents, kMoments };

/// "images", "latents", "moments": the names in HDF5 files and on the command line.
std::string to_string(Kind kind);
/// Throws UsageError on an unknown name, with the nearest one.
Kind parse_kind(const std::string& name);

/// Where the encoded pixels came from.
struct EncoderInfo {
  std::string digest;         ///< of the VAE; empty if only images are kept
  double scaling_factor = 1;  ///< latents as the UNet sees them = scaling_factor · z
};

/// The format of store.json and the shards that this program writes; others are refused.
constexpr int kStoreVersion = 2;

/// store.json: what readers trust.
struct StoreManifest {
  int version = kStoreVersion;
  std::string created_by;
  int64_t resolution = 512;
  Dialect dialect = Dialect::kEveryDream2;
  std::vector<Kind> kept;
  EncoderInfo encoder;
  struct Shard {
    std::string file;
    uint64_t bytes = 0;                            ///< of the whole file
    std::map<std::string, std::string> digests{};  ///< by bucket: of the columns, as hex
    std::map<std::string, uint64_t> rows{};        ///< by bucket, "WxH"
    /// Where the rows are if they are not in `file`: captions were refreshed since. `file` links
    /// there for other readers.
    std::string rows_file{};
    uint64_t rows_bytes = 0;
  };
  std::vector<Shard> shards;
  std::vector<Bucket> buckets;  ///< in the order of Row::bucket
  std::vector<Category> categories;
  std::vector<Settings> settings{{}};  ///< in the order of Row::settings
  /// Digest of what else decides about rows: bucket table, background, variants …; for preparing.
  std::string row_settings{};
  std::vector<Skipped> skipped;
  std::vector<std::string> warnings{};  ///< about the dataset; for people

  /// Throws UsageError if the folder holds no store.json, DataError naming the key if that is
  /// damaged.
  static StoreManifest read(const std::filesystem::path& store);
  void write(const std::filesystem::path& store) const;  ///< atomically
};

/// An example of the store, as the sampler and the loader see it.
struct Row {
  uint32_t shard;     ///< of the shards that are open
  uint32_t bucket;    ///< index into StoreManifest::buckets
  uint64_t row;       ///< within the shard's bucket group
  uint32_t category;  ///< index into StoreManifest::categories
  uint32_t settings;  ///< index into StoreManifest::settings
};

/// Where a row's pixels came from.
struct Provenance {
  uint32_t source_width;  ///< pixels, after the EXIF turn
  uint32_t source_height;
  std::array<int32_t, 4> crop;  ///< left, top, right, bottom in source pixels
  uint64_t content_hash;        ///< XXH3 of the image file, and of the dataset's own latents
};

/// How one variant of an example was made.
struct Variant {
  std::array<int32_t, 4> crop;  ///< left, top, right, bottom in source pixels
  bool flipped;                 ///< left for right
};

/// What a store holds, as hex, the same however it is sharded. A run's identity: rows must not
/// change between its halves, captions and weights may.
struct StoreDigests {
  std::string rows;      ///< sources, contents, buckets, encoder, variants
  std::string captions;  ///< of each example
  std::string weights;   ///< categories and settings, of each example
  bool operator==(const StoreDigests&) const = default;
};

/// A store opened for reading: HDF5 is read once for the schema and the columns, rows are pread.
/// Sources stay in the files, and captions too where they are more than 64 MiB in all: 24 bytes an
/// example are held, and 8 more a text and row checksum. Safe for concurrent use.
class Store {
 public:
  /// Throws UsageError if there is no store, DataError if a shard does not fit the manifest.
  explicit Store(const std::filesystem::path& path);
  /// Leaves out the shards that do not fit the manifest; `problems` takes why.
  Store(const std::filesystem::path& path, std::vector<std::string>& problems);
  Store(Store&&) noexcept;
  ~Store();

  const StoreManifest& manifest() const;
  /// All examples, sorted by source: the same order whatever the sharding.
  const std::vector<Row>& rows() const;
  size_t size() const { return rows().size(); }
  /// Number of shards that are open.
  size_t shards() const;
  std::string caption(size_t example) const;
  /// Example::caption_parts
  std::string caption_parts(size_t example) const;
  std::string source(size_t example) const;
  Provenance provenance(size_t example) const;
  /// Provenance::content_hash of all examples.
  std::vector<uint64_t> content_hashes() const;
  bool keeps(Kind kind) const;
  /// Number of crop and flip variants V.
  int64_t variants() const;
  Variant variant(size_t example, int64_t variant) const;
  /// Shape of one row of one variant, e.g. (2C, h, w).
  std::vector<int64_t> shape(size_t example, Kind kind) const;
  /// Reads the row of `variant` into `out` (f16 for latents and moments, u8 for images; contiguous,
  /// of `shape`), and verifies its checksum. Throws DataError naming shard and row.
  void read(size_t example, Kind kind, int64_t variant, const at::Tensor& out) const;
  /// The same as bytes.
  void read(size_t example, Kind kind, int64_t variant, std::span<std::byte> out) const;

  /// XXH3 of the row's bytes, as the store gives it.
  uint64_t row_checksum(size_t example, Kind kind, int64_t variant) const;

  /// Summed up at the first call.
  const StoreDigests& digests() const;
  /// All of them in one: whether two stores are the same to a run.
  std::string digest() const;

 private:
  Store(const std::filesystem::path& path, std::vector<std::string>* problems);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
