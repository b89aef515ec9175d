#pragma once

#include "data/prepare/rank_exchange.h"
#include "data/prepare/row_plan.h"

namespace kessoku::data {

/// Writes this rank's rows as a shard: what the plan knows is copied or, in a part that was
/// interrupted, left where it is; the rest is decoded and encoded, and each row is journalled when
/// it is written. Returns the counts, the images that cannot be decoded, and the shard's entry. If
/// it throws, what is done is kept for the next time. `row_settings` as of row_settings().
Part write_shard(const Dataset& dataset, const PrepareOptions& options, const ReusableRows& known,
                 const std::string& row_settings, const RowPlan& plan);

}  // namespace kessoku::data
