#include "runtime/checkpoint/resume_changes.h"

#include <ATen/ops/empty.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "data/captions/caption_edit.h"
#include "model/weights/safetensors.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/config/config_writer.h"
#include "runtime/config/key.h"
#include "runtime/config/unknown_key.h"
#include "runtime/training/update_rule.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using metrics::RunChange;

/// A value as it is recorded.
std::string recorded(const Key& key, const RunConfig& config) {
  RunConfig copy = config;
  if (!key.name.empty()) return value_text(key.field(copy));
  std::vector<std::string> rules;
  for (auto& [glob, weight] : copy.mixture.rules)
    rules.push_back(fmt::format("{} = {}", toml_string(glob), value_text(&weight)));
  return fmt::format("{}", fmt::join(rules, ","));
}

/// Whether the other optimizer kept all that the new one needs, so that it can be allowed.
bool can_take_over(const RunConfig::Optimizer& before, const RunConfig::Optimizer& after) {
  const std::vector<std::string> kept = make_update_rule(before)->moments();
  return std::ranges::all_of(make_update_rule(after)->moments(), [&](const std::string& moment) {
    return std::ranges::find(kept, moment) != kept.end();
  });
}

bool is_fixed(const Key& key, const RunConfig& before, const RunConfig& after) {
  if (key.full_name() == "optimizer.name") return !can_take_over(before.optimizer, after.optimizer);
  return key.is_fixed(before) || key.is_fixed(after);
}

/// Throws UsageError if the change of `key` is a mistake; its advice is one that helps.
void require_permitted(const Key& key, const RunConfig& before, const RunConfig& after,
                       const fs::path& checkpoint, bool allowed) {
  const std::string name = key.full_name();
  const bool fixed = is_fixed(key, before, after);
  if (key.on_resume < OnResume::kRefused || (allowed && !fixed)) return;
  const std::string what =
      fmt::format("{} is {} now and was {} up to {}: change it back", name, recorded(key, after),
                  recorded(key, before), checkpoint.string());
  throw UsageError(fixed
                       ? fmt::format("{}, or start a new run from that checkpoint: --out NEW --set "
                                     "model.path={}; a run cannot change it",
                                     what, checkpoint.string())
                       : fmt::format("{}, or give --allow-change {}", what, name));
}

bool is_allowed(const std::string& key, const std::vector<std::string>& allowed) {
  return std::ranges::find(allowed, key) != allowed.end();
}

uint64_t count_renamed(const RunConfig& before, const RunConfig& after, const data::Store& store) {
  uint64_t count = 0;
  for (size_t i = 0; i < store.size(); ++i) {
    const std::string caption = store.caption(i);
    count += data::rename_words(caption, before.data.caption_rename) !=
             data::rename_words(caption, after.data.caption_rename);
  }
  return count;
}

/// Image → caption, both as digests.
std::map<int64_t, int64_t> by_image(const model::Parameters& ledger) {
  std::map<int64_t, int64_t> captions;
  const at::Tensor &images = ledger.at(0).tensor, &texts = ledger.at(1).tensor;
  for (int64_t i = 0; i < images.numel(); ++i)
    captions[images.const_data_ptr<int64_t>()[i]] = texts.const_data_ptr<int64_t>()[i];
  return captions;
}

model::Parameters read_ledger(const fs::path& file) {
  const model::SafetensorsFile ledger(file);
  model::Parameters columns;
  for (const char* name : {"images", "captions"}) {
    columns.push_back({name, ledger.tensor(name).clone()});
    const at::Tensor& column = columns.back().tensor;
    if (column.scalar_type() != at::kLong || column.dim() != 1 ||
        column.numel() != columns.front().tensor.numel()) {
      throw DataError(
          fmt::format("{}: tensor \"{}\" is not a list of digests", file.string(), name));
    }
  }
  return columns;
}

/// Counts by the checkpoint's ledger; without one only digests tell.
RunChange compare_images(const fs::path& ledger, const data::Store& store) {
  RunChange counts;
  if (!fs::exists(ledger)) return counts;
  std::map<int64_t, int64_t> before = by_image(read_ledger(ledger));
  for (const auto& [image, caption] : by_image(store_ledger(store))) {
    const auto found = before.find(image);
    if (found == before.end()) {
      ++counts.images_added;
      continue;
    }
    counts.captions += found->second != caption;
    before.erase(found);
  }
  counts.images_removed = before.size();
  return counts;
}

/// What became of the store; `common` holds what all changes have in common.
void add_store_changes(const fs::path& checkpoint, const nlohmann::json& saved,
                       const RunConfig& config, const data::Store& store,
                       const std::vector<std::string>& allowed, const RunChange& common,
                       std::vector<RunChange>& changes) {
  const nlohmann::json now = digests_json(store.digests());
  if (saved == now) return;
  const RunChange counts = compare_images(checkpoint / kLedgerFile, store);
  for (const auto& [part, digest] : now.items()) {
    if (saved.value(part, "") == digest.get<std::string>()) continue;
    RunChange change = common;
    change.key = "store." + part;
    change.before = saved.value(part, "");
    change.after = digest;
    if (part == "captions") change.captions = counts.captions;
    if (part == "rows") {
      change.images_added = counts.images_added;
      change.images_removed = counts.images_removed;
      if (!is_allowed("data.store", allowed)) {
        const std::string what = concerned(change);
        throw UsageError(fmt::format(
            "{}: does not hold the images that {} was trained on{}{}: resume with those, or give "
            "--allow-change data.store",
            config.data.store, checkpoint.string(), what.empty() ? "" : "; ", what));
      }
    }
    changes.push_back(change);
  }
}

}  // namespace

nlohmann::json digests_json(const data::StoreDigests& digests) {
  return {{"rows", digests.rows}, {"captions", digests.captions}, {"weights", digests.weights}};
}

model::Parameters store_ledger(const data::Store& store) {
  std::vector<std::pair<int64_t, int64_t>> rows;
  rows.reserve(store.size());
  const std::vector<uint64_t> contents = store.content_hashes();
  for (size_t i = 0; i < store.size(); ++i) {
    Checksummer image, caption;
    image.add(fmt::format("{:016x}{}", contents[i], store.source(i)));
    const std::string text = store.caption(i);
    caption.add(fmt::format("{}:{}{}", text.size(), text, store.caption_parts(i)));
    rows.emplace_back(static_cast<int64_t>(image.value()), static_cast<int64_t>(caption.value()));
  }
  std::ranges::sort(rows);
  const auto size = static_cast<int64_t>(rows.size());
  const at::Tensor images = at::empty({size}, at::kLong), captions = at::empty({size}, at::kLong);
  for (int64_t i = 0; i < size; ++i) {
    images.data_ptr<int64_t>()[i] = rows[static_cast<size_t>(i)].first;
    captions.data_ptr<int64_t>()[i] = rows[static_cast<size_t>(i)].second;
  }
  return {{"images", images}, {"captions", captions}};
}

void check_allowed_changes(const std::vector<std::string>& allowed) {
  for (const std::string& name : allowed) {
    const auto key = std::ranges::find(all_keys(), name, &Key::full_name);
    if (key == all_keys().end())
      throw UsageError(fmt::format("--allow-change: {}", explain_unknown_key(name)));
    if (key->on_resume == OnResume::kFixed) {
      throw UsageError(fmt::format(
          "--allow-change: {} cannot change within a run: start a new one with --out", name));
    }
  }
}

std::vector<RunChange> changes_since(const fs::path& checkpoint, const RunConfig& config,
                                     const std::vector<std::string>& allowed,
                                     const data::Store& store, const std::string& arithmetic) {
  const nlohmann::json manifest = read_checkpoint_manifest(checkpoint);
  std::vector<RunChange> changes;
  const RunChange common{.examples = store.size()};
  try {
    const RunConfig old =
        parse_config(manifest.at("config").get<std::string>(), checkpoint / "state/run.json");
    for (const Key& key : all_keys()) {
      if (key.on_resume == OnResume::kFree || key.same(old, config)) continue;
      const std::string name = key.full_name();
      require_permitted(key, old, config, checkpoint, is_allowed(name, allowed));
      changes.push_back(common);
      changes.back().key = name;
      changes.back().before = recorded(key, old);
      changes.back().after = recorded(key, config);
      if (name == "data.caption_rename")
        changes.back().captions = count_renamed(old, config, store);
    }
    add_store_changes(checkpoint, manifest.value("store", nlohmann::json::object()), config, store,
                      allowed, common, changes);
    const std::string before = manifest.value("arithmetic", arithmetic);
    if (before != arithmetic) {
      changes.push_back(common);
      changes.back().key = "arithmetic";
      changes.back().before = before;
      changes.back().after = arithmetic;
    }
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
  return changes;
}

}  // namespace kessoku::runtime
