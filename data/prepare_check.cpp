#include "data/prepare_check.h"

#include <unordered_map>

#include "base/checksum.h"
#include "base/error.h"
#include "data/parallel.h"

namespace kessoku::data {

namespace {

constexpr uint64_t kMostKept = uint64_t{1} << 30;  ///< bytes of decoded images that wait in memory
constexpr size_t kChunk = 64;                      ///< images between two reports of progress

/// Where the old store has which content.
using ContentIndex = std::unordered_multimap<uint64_t, size_t>;

ContentIndex index_contents(const Store* old) {
  ContentIndex index;
  if (old == nullptr) return index;
  for (size_t i = 0; i < old->size(); ++i) index.emplace(old->provenance(i).content_hash, i);
  return index;
}

/// The old row of this content, if there is one of the same source then that.
std::optional<size_t> find_row(const Store* old, const ContentIndex& index, uint64_t hash,
                               const std::string& source) {
  std::optional<size_t> found;
  const auto [begin, end] = index.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (!found || old->source(it->second) == source) found = it->second;
  }
  return found;
}

class Checker {
 public:
  Checker(const Dataset& dataset, const std::vector<Bucket>& table, const Store* old)
      : dataset_(dataset), table_(table), old_(old), index_(index_contents(old)) {
    if (old == nullptr) return;
    for (const Bucket& bucket : old->manifest().buckets) {
      old_buckets_.push_back(static_cast<size_t>(std::ranges::find(table, bucket) - table.begin()));
    }
  }

  /// Throws Error if the image is bad.
  Planned check(uint32_t example) {
    const std::string& source = dataset_.examples[example].source;
    const std::string encoded = read_image_file(dataset_.root / source);
    const uint64_t hash = checksum(std::as_bytes(std::span(encoded)));
    if (const auto row = find_row(old_, index_, hash, source)) {
      const size_t bucket = old_buckets_[old_->rows()[*row].bucket];
      if (bucket < table_.size()) return {example, bucket, old_->provenance(*row), row, {}};
    }
    FittedImage fitted = fit_image(encoded, source, {.table = table_});
    const Crop& crop = fitted.crops[0];
    Planned planned{example,
                    fitted.bucket,
                    {static_cast<uint32_t>(fitted.source_width),
                     static_cast<uint32_t>(fitted.source_height),
                     {crop.left, crop.top, crop.right, crop.bottom},
                     hash},
                    {},
                    {}};
    Image& image = fitted.variants[0];
    if (kept_ += image.pixels.size(); kept_ <= kMostKept) planned.image = std::move(image);
    return planned;
  }

 private:
  const Dataset& dataset_;
  const std::vector<Bucket>& table_;
  const Store* old_;
  ContentIndex index_;
  std::vector<size_t> old_buckets_;
  std::atomic<uint64_t> kept_{0};
};

std::string without_prefix(const std::string& text, const std::string& prefix) {
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

/// Decoders report through a log that threads share, so the reason is asked for again when nothing
/// else runs.
Skipped explain(Checker& checker, const Dataset& dataset, uint32_t example) {
  const std::string& source = dataset.examples[example].source;
  try {
    checker.check(example);
    return {source, "changed while it was read"};
  } catch (const Error& error) {
    const std::string reason =
        without_prefix(error.what(), (dataset.root / source).string() + ": ");
    return {source, without_prefix(reason, source + ": ")};
  }
}

bool is_unchanged(const Plan& plan, const Dataset& dataset, const Store& old) {
  return std::ranges::all_of(plan.rows, [&](const Planned& row) {
    const Example& example = dataset.examples[row.example];
    return row.reuse && old.source(*row.reuse) == example.source &&
           old.caption(*row.reuse) == example.caption &&
           old.caption_parts(*row.reuse) == example.caption_parts &&
           old.rows()[*row.reuse].category == example.category &&
           old.rows()[*row.reuse].settings == example.settings;
  });
}

}  // namespace

std::vector<uint32_t> own_examples(const Dataset& dataset, int rank, int ranks) {
  std::vector<uint32_t> own;
  for (size_t i = static_cast<size_t>(rank); i < dataset.examples.size();
       i += static_cast<size_t>(ranks)) {
    own.push_back(static_cast<uint32_t>(i));
  }
  return own;
}

bool reusable(const StoreManifest& old, const PrepareOptions& options) {
  const auto kept = [&](Kind kind) { return std::ranges::find(old.kept, kind) != old.kept.end(); };
  return old.resolution == options.resolution && std::ranges::all_of(options.keep, kept) &&
         (!options.encode || old.encoder.digest == options.encoder.digest);
}

Plan check_images(const Dataset& dataset, const PrepareOptions& options,
                  const std::vector<Bucket>& table, const Store* old, int threads) {
  const std::vector<uint32_t> own = own_examples(dataset, options.rank, options.ranks);
  Checker checker(dataset, table, old);
  Plan plan;
  std::vector<uint32_t> bad;
  for (size_t begin = 0; begin < own.size(); begin += kChunk) {
    const size_t count = std::min(kChunk, own.size() - begin);
    std::vector<std::optional<Planned>> checked(count);
    parallel_for(count, threads, [&](size_t i) {
      try {
        checked[i] = checker.check(own[begin + i]);
      } catch (const Error&) {  // explained below
      }
    });
    for (size_t i = 0; i < count; ++i) {
      if (checked[i]) {
        plan.rows.push_back(std::move(*checked[i]));
      } else {
        bad.push_back(own[begin + i]);
      }
    }
    if (options.on_check) options.on_check(begin + count, own.size());
  }
  for (const uint32_t example : bad) plan.skipped.push_back(explain(checker, dataset, example));
  plan.unchanged = old != nullptr && is_unchanged(plan, dataset, *old);
  return plan;
}

}  // namespace kessoku::data
