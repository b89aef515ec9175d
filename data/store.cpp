#include "data/store.h"

#include <fmt/format.h>

#include "base/checksum.h"
#include "base/error.h"
#include "data/shard_reader.h"
#include "data/store_manifest.h"

namespace kessoku::data {

struct Store::Impl {
  StoreManifest manifest;
  std::vector<std::string> bucket_names;
  std::vector<std::unique_ptr<ShardReader>> shards;
  std::vector<Row> rows;
  std::vector<std::string> captions, parts, sources;  ///< by example
  std::vector<Provenance> provenance;
  int64_t variants = 0;

  void collect();
  void check_shapes() const;
  const Payload& payload(const Row& row, Kind kind) const {
    return shards[row.shard]->bucket(bucket_names[row.bucket]).payloads.at(kind);
  }
};

/// Moves the shards' columns into one table in the order of sources.
void Store::Impl::collect() {
  std::vector<std::pair<const std::string*, Row>> order;
  for (uint32_t s = 0; s < shards.size(); ++s) {
    for (uint32_t b = 0; b < bucket_names.size(); ++b) {
      const auto found = shards[s]->buckets().find(bucket_names[b]);
      if (found == shards[s]->buckets().end()) continue;
      const BucketColumns& columns = found->second;
      for (uint64_t r = 0; r < columns.sources.size(); ++r) {
        order.push_back(
            {&columns.sources[r], Row{s, b, r, columns.category[r], columns.settings[r]}});
      }
    }
  }
  std::ranges::sort(order, [](const auto& a, const auto& b) { return *a.first < *b.first; });
  for (const auto& [source, row] : order) {
    if (!sources.empty() && sources.back() == *source) {
      throw DataError(
          fmt::format("{}: {} is in the store twice", shards[row.shard]->name(), *source));
    }
    BucketColumns& columns = shards[row.shard]->buckets().at(bucket_names[row.bucket]);
    rows.push_back(row);
    sources.push_back(*source);
    captions.push_back(std::move(columns.captions[row.row]));
    parts.push_back(std::move(columns.caption_parts[row.row]));
    provenance.push_back(columns.provenance[row.row]);
  }
  for (auto& shard : shards) shard->drop_texts();
}

/// All rows must come from the same kind of encoder: same variants, channels and scale.
void Store::Impl::check_shapes() const {
  const Payload* first = nullptr;
  for (const auto& shard : shards) {
    for (const auto& [bucket, columns] : shard->buckets()) {
      const Payload& payload = columns.payloads.at(manifest.kept.back());
      if (first == nullptr) first = &payload;
      if (payload.variants != first->variants || payload.shape[0] != first->shape[0]) {
        throw DataError(fmt::format(
            "{}:/{}: other channels or variants than the rest of the store; prepare it again",
            shard->name(), bucket));
      }
    }
  }
}

Store::Store(const std::filesystem::path& path) : impl_(std::make_unique<Impl>()) {
  impl_->manifest = StoreManifest::read(path);
  for (const Bucket& bucket : impl_->manifest.buckets)
    impl_->bucket_names.push_back(to_string(bucket));
  for (const auto& entry : impl_->manifest.shards) {
    impl_->shards.push_back(
        std::make_unique<ShardReader>(path / entry.file, entry, impl_->manifest));
  }
  impl_->collect();
  impl_->check_shapes();
  if (impl_->rows.empty())
    throw DataError(fmt::format("{}: the store holds no examples", path.string()));
  impl_->variants = impl_->payload(impl_->rows[0], impl_->manifest.kept[0]).variants;
}

Store::Store(Store&&) noexcept = default;
Store::~Store() = default;

const StoreManifest& Store::manifest() const { return impl_->manifest; }
const std::vector<Row>& Store::rows() const { return impl_->rows; }
std::string Store::caption(size_t example) const { return impl_->captions.at(example); }
std::string Store::caption_parts(size_t example) const { return impl_->parts.at(example); }
std::string Store::source(size_t example) const { return impl_->sources.at(example); }
const Provenance& Store::provenance(size_t example) const { return impl_->provenance.at(example); }
int64_t Store::variants() const { return impl_->variants; }

bool Store::keeps(Kind kind) const {
  return std::ranges::find(impl_->manifest.kept, kind) != impl_->manifest.kept.end();
}

std::vector<int64_t> Store::shape(size_t example, Kind kind) const {
  return impl_->payload(impl_->rows.at(example), kind).shape;
}

void Store::read(size_t example, Kind kind, int64_t variant, const at::Tensor& out) const {
  const Row& row = impl_->rows.at(example);
  const Payload& payload = impl_->payload(row, kind);
  const at::ScalarType dtype = kind == Kind::kImages ? at::kByte : at::kHalf;
  if (variant < 0 || variant >= payload.variants || out.scalar_type() != dtype ||
      !out.is_contiguous() || !out.device().is_cpu() ||
      out.sizes() != at::IntArrayRef(payload.shape)) {
    throw std::logic_error("Store::read: `out` does not fit the row");
  }
  const ShardReader& shard = *impl_->shards[row.shard];
  const std::string& bucket = impl_->bucket_names[row.bucket];
  shard.read(bucket, kind, row.row, variant, out.data_ptr());
  const std::span bytes(static_cast<const std::byte*>(out.data_ptr()), payload.row_bytes);
  const uint64_t place =
      row.row * static_cast<uint64_t>(payload.variants) + static_cast<uint64_t>(variant);
  if (checksum(bytes) != payload.checksums[place]) {
    throw DataError(fmt::format(
        "{}:/{}/{}: row {} ({}) is damaged: its checksum does not hold; prepare the store again",
        shard.name(), bucket, to_string(kind), row.row, impl_->sources[example]));
  }
}

std::string Store::digest() const {
  Checksummer sum;
  const auto text = [&](const std::string& value) {
    sum.add(std::to_string(value.size()) + ":");  // so that neighbours cannot trade letters
    sum.add(value);
  };
  const StoreManifest& manifest = impl_->manifest;
  text(fmt::format("{} {} {} {} {}", manifest.version, manifest.resolution,
                   to_string(manifest.dialect), manifest.encoder.digest,
                   manifest.encoder.scaling_factor));
  for (const Kind kind : manifest.kept) text(to_string(kind));
  for (const Category& category : manifest.categories) {
    text(category.path);
    text(fmt::format("{} {} {}", category.multiply, category.caption_dropout.value_or(-1),
                     category.flip.value_or(-1)));
  }
  for (const Settings& settings : manifest.settings) text(to_json(settings).dump());
  for (size_t i = 0; i < size(); ++i) {
    text(impl_->sources[i]);
    text(impl_->captions[i]);
    text(impl_->parts[i]);
    const Row& row = impl_->rows[i];
    text(fmt::format("{} {} {} {}", impl_->bucket_names[row.bucket], row.category, row.settings,
                     impl_->provenance[i].content_hash));
  }
  return to_hex(sum.value());
}

}  // namespace kessoku::data
