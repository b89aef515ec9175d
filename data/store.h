#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "data/bucket.h"
#include "data/dataset.h"

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
  };
  std::vector<Shard> shards;
  std::vector<Bucket> buckets;  ///< in the order of Row::bucket
  std::vector<Category> categories;
  std::vector<Settings> settings{{}};  ///< in the order of Row::settings
  std::vector<Skipped> skipped;

  /// Throws UsageError if the folder holds no store.json, DataError naming the key if that is
  /// damaged.
  static StoreManifest read(const std::filesystem::path& store);
  void write(const std::filesystem::path& store) const;  ///< atomically
};

/// An example of the store, as the sampler and the loader see it.
struct Row {
  uint32_t shard;
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
  uint64_t content_hash;        ///< XXH3 of the image file
};

/// A store opened for reading: HDF5 is read once for the schema and the columns, rows are pread.
/// Safe for concurrent use.
class Store {
 public:
  /// Throws UsageError if there is no store, DataError if a shard does not fit the manifest.
  explicit Store(const std::filesystem::path& path);
  Store(Store&&) noexcept;
  ~Store();

  const StoreManifest& manifest() const;
  /// All examples, sorted by source: the same order whatever the sharding.
  const std::vector<Row>& rows() const;
  size_t size() const { return rows().size(); }
  std::string caption(size_t example) const;
  /// Example::caption_parts
  std::string caption_parts(size_t example) const;
  std::string source(size_t example) const;
  const Provenance& provenance(size_t example) const;
  bool keeps(Kind kind) const;
  /// Number of crop and flip variants V.
  int64_t variants() const;
  /// Shape of one row of one variant, e.g. (2C, h, w).
  std::vector<int64_t> shape(size_t example, Kind kind) const;
  /// Reads the row of `variant` into `out` (f16 for latents and moments, u8 for images; contiguous,
  /// of `shape`), and verifies its checksum. Throws DataError naming shard and row.
  void read(size_t example, Kind kind, int64_t variant, const at::Tensor& out) const;

  /// XXH3 over settings, categories, sources, contents and captions, as hex: a run's identity. The
  /// same however the store is sharded.
  std::string digest() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::data
