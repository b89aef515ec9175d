#pragma once

#include "data/store/shard_reader.h"
#include "data/store/store_layout.h"

namespace kessoku::data {

/// What to do about a damaged store, for the end of an error.
inline constexpr char kPrepareAgain[] = "prepare the store again";

/// A dataset of a shard, opened and held against the file's size.
struct CheckedDataset {
  Hdf5Id id;
  std::string where;  ///< for messages
  std::vector<uint64_t> dims;
  uint64_t bytes = 0;              ///< as stored without filters
  std::optional<uint64_t> offset;  ///< in the file, if contiguous
};

/// Opens `name` in `group`: a real dataset in this file (no link elsewhere, no external or virtual
/// storage) whose claimed size the file can hold. Throws DataError.
CheckedDataset open_dataset(hid_t group, const std::string& name, const std::string& where,
                            uint64_t file_bytes);

/// Where a shard's columns and rows are, as libhdf5 and as we see it; most often one file.
struct ShardFiles {
  hid_t columns;
  const RandomAccessFile& raw_columns;
  hid_t rows;
  const RandomAccessFile& raw_rows;
};

/// Throws DataError if the shard says that it is of a newer format.
void check_version(hid_t file, const std::string& where);

/// Reads a bucket's group: small columns whole, of the others where they are. The result refers to
/// `files`.
BucketColumns read_bucket(const ShardFiles& files, const std::string& bucket, uint64_t rows,
                          const StoreManifest& manifest, const std::string& where);

}  // namespace kessoku::data
