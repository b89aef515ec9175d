#include "data/prepare/prepare.h"

#include <fmt/format.h>

#include <set>
#include <thread>

#include "base/error.h"
#include "base/folder.h"
#include "base/text.h"
#include "data/prepare/cached_latents.h"
#include "data/prepare/rank_exchange.h"
#include "data/prepare/refresh_columns.h"
#include "data/prepare/reusable_rows.h"
#include "data/prepare/row_plan.h"
#include "data/prepare/write_shard.h"
#include "data/store/store_folder.h"
#include "data/store/store_manifest.h"
#include "data/store/store_warnings.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

void check_options(const PrepareOptions& options) {
  if (options.keep.empty()) throw UsageError("nothing to keep: choose images, latents or moments");
  const bool encoded =
      std::ranges::any_of(options.keep, [](Kind kind) { return kind != Kind::kImages; });
  if (encoded && !options.encode && !options.captions_only)
    throw std::logic_error("prepare_store: latents and moments need `encode`");
  if (std::set(options.keep.begin(), options.keep.end()).size() != options.keep.size())
    throw UsageError("--keep lists a kind twice");
  if (options.fit.variants < 1) throw UsageError("variants: at least 1");
}

/// What of the old store's rows the new one would not have; empty if nothing is lost.
std::string lost_with(const StoreManifest& old, const PrepareOptions& options,
                      const std::string& settings) {
  if (old.resolution != options.resolution)
    return fmt::format("resolution {}, not {}", old.resolution, options.resolution);
  if (old.row_settings != settings)
    return "other buckets, variants or background, or by another version of kessoku";
  if (options.encode && !old.encoder.digest.empty() && old.encoder.digest != options.encoder.digest)
    return "another VAE";
  for (const Kind kind : old.kept) {
    if (std::ranges::find(options.keep, kind) == options.keep.end())
      return fmt::format("{}, which --keep leaves out", to_string(kind));
  }
  return {};
}

void require_asked_for(const StoreManifest& old, const PrepareOptions& options,
                       const std::string& settings) {
  const std::string lost = options.replace ? "" : lost_with(old, options, settings);
  if (lost.empty()) return;
  throw UsageError(
      fmt::format("{}: holds images prepared with {}; all of them would be replaced: give another "
                  "--out, or --replace if you mean it",
                  options.store.string(), lost));
}

/// Rows that need not be made again. A store that is damaged gives what is sound of it.
ReusableRows find_known_rows(const PrepareOptions& options, const std::string& settings,
                             std::vector<std::string>& warnings) {
  std::unique_ptr<Store> store;
  if (is_file(options.store / "store.json")) {
    try {
      const StoreManifest old = StoreManifest::read(options.store);
      require_asked_for(old, options, settings);
      if (reusable(old, options, settings)) {
        std::vector<std::string> problems;
        store = std::make_unique<Store>(options.store, problems);
        for (const std::string& problem : problems)
          warnings.push_back(fmt::format("its rows are made again: {}", problem));
      }
    } catch (const DataError& error) {
      if (claimed_version(options.store) > kStoreVersion) throw;
      warnings.push_back(fmt::format("the store is rebuilt: {}", error.what()));
    }
  }
  return {std::move(store),
          find_interrupted_works(options.store, settings + options.encoder.digest, options.keep)};
}

/// The store as it was, of which no row can be used (it lacks a kind); null if there is none, or it
/// cannot be read.
std::unique_ptr<Store> open_other_store(const PrepareOptions& options) {
  if (options.replace || !is_file(options.store / "store.json")) return nullptr;
  try {
    std::vector<std::string> problems;
    return std::make_unique<Store>(options.store, problems);
  } catch (const DataError&) {
    return nullptr;
  }
}

/// Without shards and buckets.
StoreManifest describe(const PrepareOptions& options, const Dataset& dataset,
                       const std::vector<Skipped>& skipped, const std::string& settings) {
  StoreManifest manifest;
  manifest.created_by = "kessoku prepare";
  manifest.resolution = options.resolution;
  manifest.dialect = options.reading.dialect;
  manifest.kept = options.keep;
  if (options.encode) manifest.encoder = options.encoder;
  manifest.categories = dataset.categories;
  manifest.settings = dataset.settings;
  manifest.skipped = skipped;
  manifest.warnings = dataset.warnings;
  manifest.row_settings = settings;
  return manifest;
}

/// Rank 0's last act: what readers see changes here, at once.
void publish(StoreManifest manifest, const PrepareOptions& options,
             const std::vector<Part>& parts) {
  std::set<std::string> used;
  for (const Part& part : parts) {
    if (part.rows == 0) continue;
    manifest.shards.push_back(part.shard);
    for (const auto& [bucket, rows] : part.shard.rows) used.insert(bucket);
  }
  for (const Bucket& bucket : options.fit.table) {
    if (used.contains(to_string(bucket))) manifest.buckets.push_back(bucket);
  }
  manifest.write(options.store);
  remove_leftovers(options.store, manifest, true);
}

std::string summarize(const std::vector<Skipped>& images) {
  if (images.empty()) return "no image is left";
  return fmt::format("{} cannot be used; the first is {}: {}", counted(images.size(), "image"),
                     images[0].source, images[0].reason);
}

void add(PrepareSummary& summary, const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    summary.encoded += part.encoded;
    summary.reused += part.reused;
    summary.skipped.insert(summary.skipped.end(), part.skipped.begin(), part.skipped.end());
    summary.warnings.insert(summary.warnings.end(), part.warnings.begin(), part.warnings.end());
  }
  std::ranges::sort(summary.skipped, {}, &Skipped::source);
}

std::vector<std::string> describe_difference(const Refresh& refresh) {
  std::vector<std::string> warnings;
  if (refresh.gone > 0) {
    warnings.push_back(
        fmt::format("not in the dataset any more: {} of the store; they stay as they were until "
                    "the store is prepared without --captions-only",
                    counted(refresh.gone, "image")));
  }
  const uint64_t skipped = refresh.manifest.skipped.size();
  if (refresh.fresh > skipped) {
    warnings.push_back(
        fmt::format("not in the store: {} of the dataset; prepare it without --captions-only to "
                    "add them",
                    counted(refresh.fresh - skipped, "image")));
  }
  return warnings;
}

/// Rows of the old store that the plan takes from there for a file of another name.
uint64_t count_moved(const RowPlan& plan, const Dataset& dataset, const Store* old) {
  return static_cast<uint64_t>(std::ranges::count_if(plan.rows, [&](const Planned& row) {
    return row.known && row.known->from_store() &&
           old->source(row.known->row) != dataset.examples[row.example].source;
  }));
}

/// Images of the old store that the dataset has no more, and those that cannot be used any more.
struct Losses {
  uint64_t gone = 0;
  std::vector<Skipped> spoiled{};
};

Losses find_losses(const Store& old, const Dataset& dataset, const std::vector<Skipped>& skipped) {
  Losses losses;
  auto next = dataset.examples.begin();  // both are sorted by source, and `skipped` too
  for (size_t i = 0; i < old.size(); ++i) {
    const std::string source = old.source(i);
    const auto bad = std::ranges::lower_bound(skipped, source, {}, &Skipped::source);
    if (bad != skipped.end() && bad->source == source) {
      losses.spoiled.push_back(*bad);
      continue;
    }
    while (next != dataset.examples.end() && next->source < source) ++next;
    losses.gone += next == dataset.examples.end() || next->source != source;
  }
  return losses;
}

uint64_t count_rows(const std::vector<Part>& parts) {
  uint64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  return rows;
}

class Preparation {
 public:
  explicit Preparation(const PrepareOptions& options) : options_(options) {
    check_options(options_);
    if (options_.fit.table.empty()) options_.fit.table = bucket_table(options_.resolution);
    if (options_.threads <= 0)
      options_.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const Color& ground = options_.fit.background;
    settings_ = row_settings(options_.fit.table, options_.fit.variants,
                             fmt::format("{} {} {}", ground[0], ground[1], ground[2]));
  }

  PrepareSummary run() {
    exchange(options_, [&] {
      if (options_.rank == 0) {
        open_store_folder(options_.store);
        lock_ = std::make_unique<StoreLock>(options_.store);
      }
      return Part{};
    });
    exchange(options_, [&] {
      dataset_ = scan_dataset(options_.dataset, options_.reading);
      return Part{};
    });
    if (!options_.captions_only) {
      keep_ready_latents(dataset_, options_);
      warn_of_flips(dataset_, options_);
    }
    summary_.skipped = dataset_.skipped;
    summary_.warnings = dataset_.warnings;
    try {
      options_.captions_only ? refresh(nullptr) : prepare();
      exchange(options_, [] { return Part{}; });  // no rank returns before the manifest is there
      if (options_.rank == 0) add_size_warnings();
    } catch (const Error&) {
      if (options_.reading.on_failure) options_.reading.on_failure(summary_.warnings);
      throw;
    }
    return summary_;
  }

 private:
  void prepare() {
    std::optional<ReusableRows> known;
    RowPlan plan;
    const std::vector<Part> planned = exchange(options_, [&] {
      std::vector<std::string> warnings;
      known = find_known_rows(options_, settings_, warnings);
      plan = plan_rows(dataset_, options_, *known);
      if (options_.rank != 0) warnings.clear();  // all ranks see the same
      return Part{.all_known = plan.all_known,
                  .rows = plan.rows.size(),
                  .moved = count_moved(plan, dataset_, known->store()),
                  .skipped = plan.skipped,
                  .warnings = warnings};
    });
    add(summary_, planned);
    summary_.examples = count_rows(planned);
    stop_at_bad_images();
    const std::unique_ptr<Store> other = known->store() ? nullptr : open_other_store(options_);
    const Store* old = known->store() ? known->store() : other.get();
    stop_at_losses(old, planned);
    if (nothing_to_write(planned, plan, *known)) return refresh(known->store());
    const std::vector<Part> written = exchange(options_, [&] {
      return write_shard(dataset_, options_, *known, settings_ + options_.encoder.digest, plan);
    });
    add(summary_, written);
    summary_.examples = count_rows(written);
    stop_at_bad_images();
    stop_at_losses(old, planned);
    if (options_.rank == 0)
      publish(describe(options_, dataset_, summary_.skipped, settings_), options_, written);
  }

  void add_size_warnings() {
    std::vector<std::string> sizes = store_warnings(Store(options_.store));
    sizes.resize(sizes.size() - dataset_.warnings.size());
    summary_.warnings.insert(summary_.warnings.begin(), sizes.begin(), sizes.end());
  }

  void stop_at_bad_images() const {
    if (summary_.examples == 0 || (options_.strict && !summary_.skipped.empty()))
      throw BadImages(summary_.skipped);
  }

  /// A store never shrinks by more than was asked for.
  void stop_at_losses(const Store* old, const std::vector<Part>& planned) const {
    if (old == nullptr || options_.replace) return;
    const Losses losses = find_losses(*old, dataset_, summary_.skipped);
    if (!losses.spoiled.empty()) throw BadImages(losses.spoiled, options_.store);
    uint64_t moved = 0;
    for (const Part& part : planned) moved += part.moved;
    const uint64_t gone = losses.gone - std::min(losses.gone, moved);
    if (2 * gone <= old->size()) return;
    throw UsageError(fmt::format(
        "{}: {} of its {} images are not in {} any more; is all of the dataset there? Give another "
        "--out, or --replace if the store is to lose them",
        options_.store.string(), gone, old->size(), options_.dataset.string()));
  }

  /// Whether the old store has all rows that are wanted and no other, and they are sound.
  bool nothing_to_write(const std::vector<Part>& planned, const RowPlan& plan,
                        const ReusableRows& known) const {
    const Store* old = known.store();
    const auto all_known = [](const std::vector<Part>& parts) {
      return std::ranges::all_of(parts, &Part::all_known);
    };
    return old != nullptr && all_known(planned) && old->size() == summary_.examples &&
           old->shards() == old->manifest().shards.size() &&
           old->manifest().kept == options_.keep && all_known(exchange(options_, [&] {
             return Part{.all_known = known_rows_are_sound(plan, options_, known)};
           }));
  }

  /// Takes captions and settings from the dataset, and no row is touched. `old` null: the store as
  /// it is, whatever images the dataset has.
  void refresh(const Store* old) {
    const std::vector<Part> refreshed = exchange(options_, [&] {
      Part part;
      if (options_.rank != 0) return part;
      std::optional<Store> opened;
      if (old == nullptr) old = &opened.emplace(options_.store);
      Refresh refresh = refresh_columns(options_.store, *old, dataset_);
      StoreManifest& manifest = refresh.manifest;
      manifest.dialect = options_.reading.dialect;
      manifest.warnings = dataset_.warnings;
      if (!options_.captions_only) manifest.skipped = summary_.skipped;
      if (options_.encode) manifest.encoder = options_.encoder;
      manifest.write(options_.store);
      remove_leftovers(options_.store, manifest, !options_.captions_only);
      if (options_.captions_only) part.warnings = describe_difference(refresh);
      part.rows = old->size();
      part.refreshed = refresh.changed;
      return part;
    });
    add(summary_, refreshed);
    summary_.reused = summary_.examples = refreshed[0].rows;
    summary_.refreshed = refreshed[0].refreshed;
    summary_.unchanged = true;
  }

  PrepareOptions options_;
  std::string settings_;
  std::unique_ptr<StoreLock> lock_;
  Dataset dataset_;
  PrepareSummary summary_;
};

}  // namespace

BadImages::BadImages(std::vector<Skipped> images)
    : DataError(summarize(images)), images_(std::move(images)) {}

BadImages::BadImages(std::vector<Skipped> images, const fs::path& store)
    : DataError(fmt::format(
          "{}: {}; the store holds what they were and is left so: mend or remove them, or give "
          "--replace to leave them out",
          store.string(), summarize(images))),
      images_(std::move(images)) {}

PrepareSummary prepare_store(const PrepareOptions& options) { return Preparation(options).run(); }

}  // namespace kessoku::data
