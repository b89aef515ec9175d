#include "data/prepare/refresh_columns.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "data/store/shard_columns.h"
#include "data/store/store_folder.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

/// What the store's examples are to be: those that the dataset has no more keep what they had, so
/// their folders and settings are added to the dataset's.
class Wanted {
 public:
  Wanted(const Store& store, const Dataset& dataset, Refresh& refresh)
      : store_(store), dataset_(dataset), refresh_(refresh) {
    refresh.manifest = store.manifest();
    refresh.manifest.categories = dataset.categories;
    refresh.manifest.settings = dataset.settings;
    match();
  }

  /// Whether the store's columns say something else about it.
  bool must_be_written(size_t example) const { return must_be_written_[example]; }

  RowInfo info(size_t i) const {
    RowInfo info{.source = store_.source(i), .provenance = store_.provenance(i)};
    if (const Example* example = examples_[i]) {
      info.caption = example->caption;
      info.caption_parts = example->caption_parts;
      info.category = example->category;
      info.settings = example->settings;
    } else {
      info.caption = store_.caption(i);
      info.caption_parts = store_.caption_parts(i);
      info.category = old_categories_.at(store_.rows()[i].category);
      info.settings = old_settings_.at(store_.rows()[i].settings);
    }
    for (int64_t v = 0; store_.variants() > 1 && v < store_.variants(); ++v)
      info.variants.push_back(store_.variant(i, v));
    return info;
  }

 private:
  /// Both are sorted by source.
  void match() {
    auto next = dataset_.examples.begin();
    for (size_t i = 0; i < store_.size(); ++i) {
      const std::string source = store_.source(i);
      for (; next != dataset_.examples.end() && next->source < source; ++next) ++refresh_.fresh;
      const bool found = next != dataset_.examples.end() && next->source == source;
      examples_.push_back(found ? &*next++ : nullptr);
      found ? compare(i, *examples_[i]) : keep_old(store_.rows()[i]);
    }
    refresh_.fresh += static_cast<uint64_t>(dataset_.examples.end() - next);
  }

  void compare(size_t i, const Example& example) {
    const Row& row = store_.rows()[i];
    const StoreManifest& old = store_.manifest();
    const bool other_text =
        store_.caption(i) != example.caption || store_.caption_parts(i) != example.caption_parts;
    if (other_text || old.settings[row.settings] != dataset_.settings[example.settings] ||
        old.categories[row.category].path != dataset_.categories[example.category].path)
      ++refresh_.changed;
    must_be_written_.push_back(other_text || row.category != example.category ||
                               row.settings != example.settings);
  }

  void keep_old(const Row& row) {
    ++refresh_.gone;
    const StoreManifest& old = store_.manifest();
    if (!old_categories_.contains(row.category)) {
      const Category& category = old.categories[row.category];
      old_categories_[row.category] =
          place(refresh_.manifest.categories, category,
                [&](const Category& other) { return other.path == category.path; });
    }
    if (!old_settings_.contains(row.settings)) {
      const Settings& settings = old.settings[row.settings];
      old_settings_[row.settings] = place(refresh_.manifest.settings, settings,
                                          [&](const Settings& s) { return s == settings; });
    }
    must_be_written_.push_back(old_categories_[row.category] != row.category ||
                               old_settings_[row.settings] != row.settings);
  }

  template <typename T, typename Same>
  static uint32_t place(std::vector<T>& list, const T& value, const Same& same) {
    auto found = std::ranges::find_if(list, same);
    if (found == list.end()) found = list.insert(found, value);
    return static_cast<uint32_t>(found - list.begin());
  }

  const Store& store_;
  const Dataset& dataset_;
  Refresh& refresh_;
  std::vector<const Example*> examples_;  ///< by example of the store; null: gone
  std::vector<bool> must_be_written_;
  std::unordered_map<uint32_t, uint32_t> old_categories_, old_settings_;  ///< where they are now
};

/// The rows get a name of their own, which the next refresh finds, too.
std::string name_rows(const fs::path& store, const StoreManifest::Shard& shard) {
  if (!shard.rows_file.empty()) return shard.rows_file;
  for (int k = 1;; ++k) {
    std::string name = "rows-" + shard.file.substr(shard.file.find('-') + 1);
    if (k > 1) name = fmt::format("{}-{}.h5", name.substr(0, name.rfind('.')), k);
    std::error_code error;
    fs::create_hard_link(store / shard.file, store / name, error);
    if (!error) return name;
    if (error != std::errc::file_exists) return shard.file;  // the file system has no such links
  }
}

/// Writes the columns of one shard. h5py and h5dump find the rows by links to the file they are in.
void write_shard_columns(const fs::path& path, const Store& store, const Wanted& wanted,
                         const std::map<uint32_t, std::vector<size_t>>& examples_by_bucket,
                         int number, StoreManifest::Shard& shard) {
  shard.rows_file = name_rows(path, shard);
  shard.rows_bytes = fs::file_size(path / shard.rows_file);
  const StoreManifest& manifest = store.manifest();
  const fs::path target = free_shard_path(path, number);
  const fs::path part = target.string() + ".part";
  {
    const Hdf5Quiet quiet;
    const Hdf5Id file = create_shard_file(part);
    for (const auto& [b, examples] : examples_by_bucket) {
      const Bucket& bucket = manifest.buckets[b];
      const Hdf5Id group = create_group(file, bucket, part.string());
      std::vector<RowInfo> infos;
      RowChecksums checksums;
      for (const size_t example : examples) {
        infos.push_back(wanted.info(example));
        for (const Kind kind : manifest.kept) {
          for (int64_t v = 0; v < store.variants(); ++v)
            checksums[kind].push_back(store.row_checksum(example, kind, v));
        }
      }
      shard.digests[to_string(bucket)] =
          write_columns(group, infos, checksums, manifest.kept, store.variants(), part.string());
      for (const Kind kind : manifest.kept) {
        const std::string place = fmt::format("/{}/{}", to_string(bucket), to_string(kind));
        if (H5Lcreate_external(shard.rows_file.c_str(), place.c_str(), group,
                               to_string(kind).c_str(), H5P_DEFAULT, H5P_DEFAULT) < 0)
          throw_hdf5_write_error(part.string());
      }
    }
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) throw_hdf5_write_error(part.string());
  }
  fsync_path(part);
  shard.file = target.filename().string();
  shard.bytes = fs::file_size(part);
  fs::rename(part, target);
}

}  // namespace

Refresh refresh_columns(const fs::path& path, const Store& store, const Dataset& dataset) {
  Refresh refresh;
  const Wanted wanted(store, dataset, refresh);
  std::vector<std::map<uint32_t, std::vector<size_t>>> by_shard(store.manifest().shards.size());
  std::vector<bool> affected(by_shard.size());
  for (size_t i = 0; i < store.size(); ++i) {
    const Row& row = store.rows()[i];
    std::vector<size_t>& examples = by_shard[row.shard][row.bucket];
    if (examples.size() <= row.row) examples.resize(row.row + 1);
    examples[row.row] = i;
    if (wanted.must_be_written(i)) affected[row.shard] = true;
  }
  for (size_t s = 0; s < by_shard.size(); ++s) {
    if (affected[s])
      write_shard_columns(path, store, wanted, by_shard[s], static_cast<int>(s),
                          refresh.manifest.shards[s]);
  }
  fsync_path(path);
  return refresh;
}

}  // namespace kessoku::data
