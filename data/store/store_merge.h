#pragma once

#include "data/store/shard_reader.h"

namespace kessoku::data {

/// A bucket of a shard that is to be merged.
struct MergedGroup {
  uint32_t shard, bucket;
  const BucketColumns* columns;
  const std::string* shard_name;  ///< for errors
};

/// The rows of all groups, sorted by source: the same order whatever the sharding. Throws DataError
/// if a source is there twice.
std::vector<Row> merge_by_source(const std::vector<MergedGroup>& groups);

}  // namespace kessoku::data
