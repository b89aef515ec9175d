#include "data/prepare/shard_plan.h"

#include "base/checksum.h"

namespace kessoku::data {

namespace {

ShardLayout::Group make_group(const PrepareOptions& options, const Bucket& bucket, uint64_t rows) {
  const int64_t h = bucket.height / options.downscale, w = bucket.width / options.downscale;
  ShardLayout::Group group{bucket, rows, {}};
  for (const Kind kind : options.keep) {
    group.shapes[kind] = kind == Kind::kImages
                             ? std::vector{int64_t{3}, bucket.height, bucket.width}
                         : kind == Kind::kMoments ? std::vector{2 * options.latent_channels, h, w}
                                                  : std::vector{options.latent_channels, h, w};
  }
  return group;
}

std::string digest_of(const Dataset& dataset, const ShardPlan& plan) {
  Checksummer sum;
  for (const PlacedRow& row : plan.rows) {
    sum.add(dataset.examples[row.planned->example].source);
    const std::array<uint64_t, 2> place{row.group, row.row};
    sum.add(std::as_bytes(std::span(place)));
  }
  for (const ShardLayout::Group& group : plan.layout.groups) sum.add(to_string(group.bucket));
  return to_hex(sum.value());
}

}  // namespace

ShardPlan plan_shard(const Dataset& dataset, const PrepareOptions& options, const RowPlan& plan) {
  const std::vector<Bucket>& table = options.fit.table;
  std::vector<uint64_t> rows(table.size());
  for (const Planned& planned : plan.rows) ++rows[planned.bucket];
  ShardPlan shard{{options.keep, options.fit.variants, {}}, {}, {}};
  std::vector<uint32_t> group_of(table.size());
  for (size_t b = 0; b < table.size(); ++b) {
    if (rows[b] == 0) continue;
    group_of[b] = static_cast<uint32_t>(shard.layout.groups.size());
    shard.layout.groups.push_back(make_group(options, table[b], rows[b]));
  }
  std::vector<uint64_t> next(shard.layout.groups.size());
  for (const Planned& planned : plan.rows) {
    const uint32_t group = group_of[planned.bucket];
    shard.rows.push_back({&planned, group, next[group]++});
  }
  std::ranges::stable_sort(shard.rows, {}, &PlacedRow::group);
  shard.digest = digest_of(dataset, shard);
  return shard;
}

}  // namespace kessoku::data
