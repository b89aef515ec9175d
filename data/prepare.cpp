#include "data/prepare.h"

#include <fmt/format.h>

#include <set>
#include <thread>

#include "base/error.h"
#include "data/prepare_check.h"
#include "data/prepare_part.h"
#include "data/prepare_write.h"
#include "data/store_manifest.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

void check_options(const PrepareOptions& options) {
  if (options.keep.empty()) throw UsageError("nothing to keep: choose images, latents or moments");
  const bool encoded =
      std::ranges::any_of(options.keep, [](Kind kind) { return kind != Kind::kImages; });
  if (encoded && !options.encode)
    throw std::logic_error("prepare_store: latents and moments need `encode`");
  if (std::set(options.keep.begin(), options.keep.end()).size() != options.keep.size()) {
    throw UsageError("the same thing is to be kept twice");
  }
}

/// Never writes into a folder that holds something else, such as the dataset.
void check_folder(const fs::path& store) {
  std::error_code gone;
  if (!fs::exists(store, gone)) return;
  if (!fs::is_directory(store)) throw UsageError(fmt::format("{}: not a folder", store.string()));
  for (const auto& entry : fs::directory_iterator(store)) {
    if (!is_store_file(entry.path().filename().string())) {
      throw UsageError(fmt::format("{}: holds other files ({}); give --out a new folder or a store",
                                   store.string(), entry.path().filename().string()));
    }
  }
}

/// The store as it was, or nothing if it cannot be used.
struct OldStore {
  std::optional<StoreManifest> manifest;
  std::unique_ptr<Store> store;
  std::vector<std::string> warnings;
};

OldStore open_old(const PrepareOptions& options) {
  OldStore old;
  if (!fs::exists(options.store / "store.json")) return old;
  try {
    old.manifest = StoreManifest::read(options.store);
    if (reusable(*old.manifest, options)) old.store = std::make_unique<Store>(options.store);
  } catch (const Error& error) {
    old.warnings.push_back(fmt::format("the store is made anew: {}", error.what()));
  }
  return old;
}

/// Shards never take the name of one that the old manifest trusts: it holds until the new one
/// replaces it.
std::string shard_name(int rank, const std::optional<StoreManifest>& old) {
  const auto taken = [&](const std::string& name) {
    return old &&
           std::ranges::any_of(old->shards, [&](const auto& shard) { return shard.file == name; });
  };
  const std::string suffix = taken("shard-00000.h5") ? "-b" : "";
  return fmt::format("shard-{:05}{}.h5", rank, suffix);
}

StoreManifest make_manifest(const PrepareOptions& options, const Dataset& dataset,
                            const std::vector<Bucket>& table, const std::vector<Skipped>& skipped) {
  StoreManifest manifest;
  manifest.created_by = "kessoku prepare";
  manifest.resolution = options.resolution;
  manifest.dialect = options.dialect;
  manifest.kept = options.keep;
  if (options.encode) manifest.encoder = options.encoder;
  manifest.categories = dataset.categories;
  manifest.settings = dataset.settings;
  manifest.skipped = skipped;
  manifest.buckets = table;
  return manifest;
}

/// Rank 0's last act: what readers see changes here, at once.
void publish(StoreManifest manifest, const PrepareOptions& options,
             const std::vector<Part>& parts) {
  std::set<std::string> used, files;
  for (const Part& part : parts) {
    if (part.rows == 0) continue;
    manifest.shards.push_back(part.shard);
    files.insert(part.shard.file);
    for (const auto& [bucket, rows] : part.shard.rows) used.insert(bucket);
  }
  std::erase_if(manifest.buckets,
                [&](const Bucket& bucket) { return !used.contains(to_string(bucket)); });
  manifest.write(options.store);
  for (const auto& entry : fs::directory_iterator(options.store)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("shard-") && !files.contains(name)) fs::remove(entry.path());
  }
}

void throw_bad_images(const std::vector<Skipped>& skipped) {
  std::string list;
  for (const Skipped& entry : skipped)
    list += fmt::format("\n  {}: {}", entry.source, entry.reason);
  throw DataError(fmt::format("{} images cannot be used:{}", skipped.size(), list));
}

PrepareSummary summarize(const Dataset& dataset, const std::vector<Part>& parts,
                         const OldStore& old) {
  PrepareSummary summary;
  summary.skipped = dataset.skipped;
  summary.warnings = dataset.warnings;
  summary.warnings.insert(summary.warnings.end(), old.warnings.begin(), old.warnings.end());
  for (const Part& part : parts) {
    summary.examples += part.rows;
    summary.skipped.insert(summary.skipped.end(), part.skipped.begin(), part.skipped.end());
  }
  std::ranges::sort(summary.skipped, {}, &Skipped::source);
  return summary;
}

void count(PrepareSummary& summary, const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    summary.encoded += part.encoded;
    summary.reused += part.reused;
    summary.warnings.insert(summary.warnings.end(), part.warnings.begin(), part.warnings.end());
  }
}

bool nothing_changed(const std::vector<Part>& parts, const PrepareSummary& summary,
                     const OldStore& old, const PrepareOptions& options) {
  return old.store && old.store->size() == summary.examples && old.manifest->kept == options.keep &&
         std::ranges::all_of(parts, &Part::unchanged);
}

/// Weights and the list of bad images may have changed though no row has.
void refresh_manifest(const StoreManifest& wanted, const OldStore& old, const fs::path& store) {
  StoreManifest manifest = *old.manifest;
  manifest.dialect = wanted.dialect;
  manifest.encoder = wanted.encoder;
  manifest.categories = wanted.categories;
  manifest.settings = wanted.settings;
  manifest.skipped = wanted.skipped;
  manifest.write(store);
}

}  // namespace

PrepareSummary prepare_store(const PrepareOptions& options) {
  check_options(options);
  check_folder(options.store);
  const std::vector<Bucket> table = bucket_table(options.resolution);
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = options.threads > 0 ? options.threads : cores;
  const Dataset dataset = scan_dataset(options.dataset, {.dialect = options.dialect});
  fs::create_directories(options.store);

  OldStore old;
  Plan plan;
  const std::vector<Part> planned = exchange(options, "check", [&] {
    old = open_old(options);
    plan = check_images(dataset, options, table, old.store.get(), threads);
    return Part{.unchanged = plan.unchanged, .rows = plan.rows.size(), .skipped = plan.skipped};
  });
  PrepareSummary summary = summarize(dataset, planned, old);
  if (summary.examples == 0 || (options.strict && !summary.skipped.empty()))
    throw_bad_images(summary.skipped);
  const StoreManifest manifest = make_manifest(options, dataset, table, summary.skipped);

  summary.unchanged = nothing_changed(planned, summary, old, options);
  if (summary.unchanged) {
    summary.reused = summary.examples;
    if (options.rank == 0) refresh_manifest(manifest, old, options.store);
  } else {
    const std::vector<Part> written = exchange(options, "write", [&] {
      Part part{.rows = plan.rows.size()};
      if (plan.rows.empty()) return part;
      const fs::path shard = options.store / shard_name(options.rank, old.manifest);
      write_shard(shard, dataset, options, table, old.store.get(), threads, plan, part);
      return part;
    });
    count(summary, written);
    if (options.rank == 0) publish(manifest, options, written);
  }
  if (options.barrier) options.barrier();  // no rank returns before the manifest is there
  return summary;
}

}  // namespace kessoku::data
