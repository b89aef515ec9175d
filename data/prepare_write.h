#pragma once

#include "data/prepare_check.h"
#include "data/prepare_part.h"

namespace kessoku::data {

/// Writes this rank's rows as shard `path`, bucket by bucket: what the plan reuses is copied from
/// `old`, the rest is encoded. `part` takes the counts and the shard's entry. Throws DataError if
/// an image has changed since the plan was made.
void write_shard(const std::filesystem::path& path, const Dataset& dataset,
                 const PrepareOptions& options, const std::vector<Bucket>& table, const Store* old,
                 int threads, Plan& plan, Part& part);

}  // namespace kessoku::data
