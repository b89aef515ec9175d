#pragma once

#include "data/shard_reader.h"
#include "data/store_layout.h"

namespace kessoku::data {

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

/// Reads the columns and the rows' places of a bucket's group.
BucketColumns read_bucket(hid_t file, const std::string& bucket, uint64_t rows,
                          const StoreManifest& manifest, const std::string& where,
                          uint64_t file_bytes);

}  // namespace kessoku::data
