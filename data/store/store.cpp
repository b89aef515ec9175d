#include "data/store/store.h"

#include <fmt/format.h>

#include <mutex>

#include "base/checksum.h"
#include "base/error.h"
#include "data/store/shard_reader.h"
#include "data/store/store_digests.h"
#include "data/store/store_merge.h"

namespace kessoku::data {

namespace {
constexpr uint64_t kMostHeldCaptions = uint64_t{64} << 20;  ///< bytes
}

struct Store::Impl {
  struct Group {
    ShardReader* shard = nullptr;
    const BucketColumns* columns = nullptr;    ///< null: the shard has no such bucket
    std::array<const Payload*, 3> payloads{};  ///< by Kind; null: not kept
  };

  StoreManifest manifest;
  std::vector<std::string> bucket_names;
  std::vector<std::unique_ptr<ShardReader>> shards;
  std::vector<Group> groups;  ///< shard by shard, each its buckets
  std::vector<Row> rows;
  int64_t variants = 1;
  std::once_flag summed_up;
  StoreDigests digests;

  void open_shards(const std::filesystem::path& path, std::vector<std::string>* problems);
  void check_shapes();
  void hold_captions();
  const Group& group(const Row& row) const {
    return groups[size_t{row.shard} * bucket_names.size() + row.bucket];
  }
  const Payload& payload(const Row& row, Kind kind) const {
    const Payload* payload = group(row).payloads[static_cast<size_t>(kind)];
    if (payload == nullptr) throw std::logic_error("Store: keeps nothing of this kind");
    return *payload;
  }
};

void Store::Impl::open_shards(const std::filesystem::path& path,
                              std::vector<std::string>* problems) {
  for (const Bucket& bucket : manifest.buckets) bucket_names.push_back(to_string(bucket));
  for (const auto& entry : manifest.shards) {
    try {
      shards.push_back(std::make_unique<ShardReader>(path, entry, manifest));
    } catch (const DataError& error) {
      if (problems == nullptr) throw;
      problems->push_back(error.what());
      continue;
    }
    for (const std::string& bucket : bucket_names) {
      const auto found = shards.back()->buckets().find(bucket);
      Group& group = groups.emplace_back(shards.back().get());
      if (found == shards.back()->buckets().end()) continue;
      group.columns = &found->second;
      for (const auto& [kind, payload] : found->second.payloads)
        group.payloads[static_cast<size_t>(kind)] = &payload;
    }
  }
}

/// All rows must come from the same kind of encoder: same variants and channels.
void Store::Impl::check_shapes() {
  std::map<Kind, const Payload*> first;
  for (const Group& group : groups) {
    if (group.columns == nullptr) continue;
    for (const auto& [kind, payload] : group.columns->payloads) {
      const Payload& other = *first.emplace(kind, &payload).first->second;
      if (payload.variants != first.begin()->second->variants ||
          payload.shape[0] != other.shape[0]) {
        throw DataError(fmt::format(
            "{}: other channels or variants than the rest of the store; prepare the store again",
            group.shard->name()));
      }
    }
  }
  if (!first.empty()) variants = first.begin()->second->variants;
}

/// Asking the file for each caption costs as much as a fifth of a row of latents.
void Store::Impl::hold_captions() {
  uint64_t bytes = 0;
  for (const Group& group : groups) {
    if (group.columns == nullptr) continue;
    bytes += group.columns->captions.bytes.bytes() + group.columns->caption_parts.bytes.bytes();
  }
  if (bytes > kMostHeldCaptions) return;
  for (auto& shard : shards) shard->hold_captions();
}

Store::Store(const std::filesystem::path& path, std::vector<std::string>* problems)
    : impl_(std::make_unique<Impl>()) {
  impl_->manifest = StoreManifest::read(path);
  impl_->open_shards(path, problems);
  impl_->check_shapes();
  std::vector<MergedGroup> groups;
  const auto buckets = static_cast<uint32_t>(impl_->bucket_names.size());
  for (uint32_t g = 0; g < impl_->groups.size(); ++g) {
    const auto& group = impl_->groups[g];
    if (group.columns == nullptr) continue;
    groups.push_back({g / buckets, g % buckets, group.columns, &group.shard->name()});
  }
  impl_->rows = merge_by_source(groups);
  for (auto& shard : impl_->shards) shard->drop_indices();
  impl_->hold_captions();
  if (impl_->rows.empty() && problems == nullptr)
    throw DataError(fmt::format("{}: the store holds no examples", path.string()));
}

Store::Store(const std::filesystem::path& path) : Store(path, nullptr) {}
Store::Store(const std::filesystem::path& path, std::vector<std::string>& problems)
    : Store(path, &problems) {}
Store::Store(Store&&) noexcept = default;
Store::~Store() = default;

const StoreManifest& Store::manifest() const { return impl_->manifest; }
size_t Store::shards() const { return impl_->shards.size(); }
const std::vector<Row>& Store::rows() const { return impl_->rows; }
int64_t Store::variants() const { return impl_->variants; }

std::string Store::caption(size_t example) const {
  const Row& row = impl_->rows.at(example);
  return impl_->group(row).columns->captions.at(row.row);
}

std::string Store::caption_parts(size_t example) const {
  const Row& row = impl_->rows.at(example);
  return impl_->group(row).columns->caption_parts.at(row.row);
}

std::string Store::source(size_t example) const {
  const Row& row = impl_->rows.at(example);
  return impl_->group(row).columns->sources.at(row.row);
}

Provenance Store::provenance(size_t example) const {
  const Row& row = impl_->rows.at(example);
  const BucketColumns& columns = *impl_->group(row).columns;
  const auto size = columns.source_size.at<std::array<uint32_t, 2>>(row.row);
  return {size[0], size[1], columns.crop.at<std::array<int32_t, 4>>(row.row),
          columns.content_hash.at<uint64_t>(row.row)};
}

std::vector<uint64_t> Store::content_hashes() const {
  std::vector<std::vector<uint64_t>> by_group;
  for (const Impl::Group& group : impl_->groups) {
    by_group.push_back(group.columns != nullptr ? group.columns->content_hash.all<uint64_t>()
                                                : std::vector<uint64_t>());
  }
  std::vector<uint64_t> hashes;
  hashes.reserve(size());
  for (const Row& row : impl_->rows)
    hashes.push_back(
        by_group[size_t{row.shard} * impl_->bucket_names.size() + row.bucket][row.row]);
  return hashes;
}

Variant Store::variant(size_t example, int64_t variant) const {
  if (impl_->variants == 1) return {provenance(example).crop, false};
  const Row& row = impl_->rows.at(example);
  const BucketColumns& columns = *impl_->group(row).columns;
  const uint64_t place =
      row.row * static_cast<uint64_t>(impl_->variants) + static_cast<uint64_t>(variant);
  return {columns.variant_crop.at<std::array<int32_t, 4>>(place),
          columns.variant_flip.at<uint8_t>(place) != 0};
}

bool Store::keeps(Kind kind) const {
  return std::ranges::find(impl_->manifest.kept, kind) != impl_->manifest.kept.end();
}

std::vector<int64_t> Store::shape(size_t example, Kind kind) const {
  return impl_->payload(impl_->rows.at(example), kind).shape;
}

void Store::read(size_t example, Kind kind, int64_t variant, const at::Tensor& out) const {
  const at::ScalarType dtype = kind == Kind::kImages ? at::kByte : at::kHalf;
  if (out.scalar_type() != dtype || !out.is_contiguous() || !out.device().is_cpu() ||
      out.sizes() != at::IntArrayRef(impl_->payload(impl_->rows.at(example), kind).shape)) {
    throw std::logic_error("Store::read: `out` does not fit the row");
  }
  read(example, kind, variant, {static_cast<std::byte*>(out.data_ptr()), out.nbytes()});
}

void Store::read(size_t example, Kind kind, int64_t variant, std::span<std::byte> out) const {
  const Row& row = impl_->rows.at(example);
  const Payload& payload = impl_->payload(row, kind);
  if (out.size() != payload.row_bytes || variant < 0 || variant >= payload.variants)
    throw std::logic_error("Store::read: `out` does not fit the row, or there is no such variant");
  const ShardReader& shard = *impl_->group(row).shard;
  shard.read(payload, row.row, variant, out);
  if (checksum(out) != payload.checksums[payload.index(row.row, variant)]) {
    throw DataError(fmt::format(
        "{}:/{}/{}: row {} ({}) is damaged: its checksum does not hold; prepare the store again",
        shard.name(), payload.bucket, to_string(kind), row.row, source(example)));
  }
}

uint64_t Store::row_checksum(size_t example, Kind kind, int64_t variant) const {
  const Row& row = impl_->rows.at(example);
  if (variant < 0 || variant >= impl_->variants)
    throw std::logic_error("Store: there is no such variant");
  const Payload& payload = impl_->payload(row, kind);
  return payload.checksums[payload.index(row.row, variant)];
}

const StoreDigests& Store::digests() const {
  std::call_once(impl_->summed_up, [this] {
    std::vector<const BucketColumns*> groups;
    for (const Impl::Group& group : impl_->groups) groups.push_back(group.columns);
    impl_->digests = sum_up(impl_->manifest, impl_->rows, groups);
  });
  return impl_->digests;
}

std::string Store::digest() const {
  const StoreDigests& all = digests();
  const std::string together = all.rows + all.captions + all.weights;
  return to_hex(checksum(std::as_bytes(std::span(together))));
}

}  // namespace kessoku::data
