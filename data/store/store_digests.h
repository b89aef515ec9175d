#pragma once

#include "data/store/shard_reader.h"

namespace kessoku::data {

/// Digests of a store whose rows are in these groups: shard by shard, each its buckets, null where
/// a shard has no such bucket.
StoreDigests sum_up(const StoreManifest& manifest, const std::vector<Row>& rows,
                    const std::vector<const BucketColumns*>& groups);

}  // namespace kessoku::data
