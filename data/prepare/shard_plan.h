#pragma once

#include "data/prepare/row_plan.h"
#include "data/store/shard_writer.h"

namespace kessoku::data {

/// A planned row's place in the shard, and what is known of it beside its bytes.
struct PlacedRow {
  const Planned* planned;
  uint32_t group;  ///< index into ShardLayout::groups
  uint64_t row;    ///< within the group
  bool there = false;
  Provenance provenance{};
  std::vector<Variant> variants{};  ///< empty with one variant
};

/// The shard that a rank is to write.
struct ShardPlan {
  ShardLayout layout;
  std::vector<PlacedRow> rows;  ///< by group, then row
  /// Of which example is in which row: interrupted work goes on in place if it is the same.
  std::string digest;
};

/// Groups in the order of the bucket table, rows in the order of `plan`, to which the result
/// refers.
ShardPlan plan_shard(const Dataset& dataset, const PrepareOptions& options, const RowPlan& plan);

}  // namespace kessoku::data
