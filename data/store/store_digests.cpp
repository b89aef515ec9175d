#include "data/store/store_digests.h"

#include <fmt/format.h>

#include "base/checksum.h"
#include "base/json.h"
#include "data/store/store_manifest.h"

namespace kessoku::data {

namespace {

/// XXH3 over texts and numbers.
class Sum {
 public:
  /// With its length, so that neighbors cannot trade letters.
  void text(std::string_view value) {
    number(value.size());
    sum_.add(std::as_bytes(std::span(value)));
  }
  void number(uint64_t value) { sum_.add(std::as_bytes(std::span(&value, 1))); }
  std::string hex() const { return to_hex(sum_.value()); }

 private:
  Checksummer sum_;
};

/// A text column in memory.
struct Texts {
  explicit Texts(const TextColumn& column)
      : bytes(column.bytes.all<char>()), offsets(&column.offsets) {}
  std::string_view at(uint64_t row) const {
    return {bytes.data() + (*offsets)[row], (*offsets)[row + 1] - (*offsets)[row]};
  }
  std::vector<char> bytes;
  const std::vector<uint64_t>* offsets;
};

/// Calls `add(loaded group, row)` for all rows in order; `load` makes what is needed of a group.
template <typename Load, typename Add>
void for_each_row(const StoreManifest& manifest, const std::vector<Row>& rows,
                  const std::vector<const BucketColumns*>& groups, const Load& load,
                  const Add& add) {
  using Loaded = decltype(load(*groups[0]));
  std::vector<std::optional<Loaded>> loaded;
  for (const BucketColumns* columns : groups)
    loaded.push_back(columns != nullptr ? std::optional<Loaded>(load(*columns)) : std::nullopt);
  for (const Row& row : rows)
    add(*loaded[size_t{row.shard} * manifest.buckets.size() + row.bucket], row);
}

}  // namespace

StoreDigests sum_up(const StoreManifest& manifest, const std::vector<Row>& rows,
                    const std::vector<const BucketColumns*>& groups) {
  Sum of_rows, of_captions, of_weights;
  of_rows.text(fmt::format("{} {}", manifest.encoder.digest, manifest.encoder.scaling_factor));
  for (const Kind kind : manifest.kept) of_rows.text(to_string(kind));
  struct Images {
    Texts sources;
    std::vector<uint64_t> contents;
    uint64_t variants;
  };
  for_each_row(
      manifest, rows, groups,
      [](const BucketColumns& columns) {
        return Images{Texts(columns.sources), columns.content_hash.all<uint64_t>(),
                      static_cast<uint64_t>(columns.payloads.begin()->second.variants)};
      },
      [&](const Images& images, const Row& row) {
        const Bucket& bucket = manifest.buckets[row.bucket];
        of_rows.text(images.sources.at(row.row));
        of_rows.number(images.contents[row.row]);
        of_rows.number(images.variants);
        of_rows.number(static_cast<uint64_t>(bucket.width));
        of_rows.number(static_cast<uint64_t>(bucket.height));
      });
  for_each_row(
      manifest, rows, groups,
      [](const BucketColumns& columns) {
        return std::pair(Texts(columns.captions), Texts(columns.caption_parts));
      },
      [&](const std::pair<Texts, Texts>& captions, const Row& row) {
        of_captions.text(captions.first.at(row.row));
        of_captions.text(captions.second.at(row.row));
      });
  // Two lists may name the same settings in another order.
  std::vector<std::string> settings;
  for (const Settings& entry : manifest.settings) settings.push_back(to_text(to_json(entry)));
  for (const Category& category : manifest.categories) of_weights.text(to_text(to_json(category)));
  for (const Row& row : rows) {
    of_weights.number(row.category);
    of_weights.text(settings[row.settings]);
  }
  return {of_rows.hex(), of_captions.hex(), of_weights.hex()};
}

}  // namespace kessoku::data
