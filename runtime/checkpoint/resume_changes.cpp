#include "runtime/checkpoint/resume_changes.h"

#include <ATen/ops/empty.h>
#include <fnmatch.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "data/captions/caption_edit.h"
#include "model/weights/safetensors.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/config/config_fields.h"
#include "runtime/config/config_writer.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using metrics::RunChange;

enum class Change {
  kFree,      ///< makes no difference to what is trained
  kRecorded,  ///< what one may well want to change in between
  kRefused,   ///< most often a mistake
};

/// The last pattern that matches a key decides; what none matches is refused.
constexpr std::pair<const char*, Change> kRules[] = {
    {"name", Change::kFree},
    {"data.*", Change::kRecorded},
    {"data.store", Change::kFree},  // its contents are compared
    {"data.threads", Change::kFree},
    {"data.prefetch", Change::kFree},
    {"data.on_bad_row", Change::kFree},
    {"data.max_token_length", Change::kRefused},
    {"data.front_end", Change::kRefused},
    {"mixture*", Change::kRecorded},
    {"train.steps", Change::kRecorded},
    {"train.stop_after_hours", Change::kFree},
    {"train.micro_batch", Change::kFree},
    {"train.gradient_checkpointing", Change::kFree},
    {"train.device", Change::kFree},
    {"train.threads", Change::kFree},
    {"optimizer.*", Change::kRecorded},
    {"optimizer.name", Change::kRefused},
    {"optimizer.betas", Change::kRefused},
    {"optimizer.eps", Change::kRefused},
    {"optimizer.freeze", Change::kRefused},
    {"optimizer.shard", Change::kFree},
    {"ema.*", Change::kRecorded},
    {"communication.*", Change::kFree},
    {"communication.wire", Change::kRecorded},
    {"checkpoint.*", Change::kFree},
    {"sample.*", Change::kRecorded},
    {"validation.every_steps", Change::kFree},
    {"metrics.*", Change::kFree},
    {"audit.*", Change::kFree},
};

Change kind_of(const std::string& key) {
  Change kind = Change::kRefused;
  for (const auto& [pattern, one] : kRules) {
    if (::fnmatch(pattern, key.c_str(), 0) == 0) kind = one;
  }
  return kind;
}

/// A visitor of `visit_fields`: all keys with their values as text.
class Values {
 public:
  template <typename Field>
  void operator()(const char* section, const char* key, const Field& field) {
    const std::string_view of = section, name = key;
    ConfigWriter writer;
    writer("", key, field);
    std::string text = writer.text();
    if (!name.empty()) text.erase(0, name.size() + 3);  // "key = "
    while (text.ends_with('\n')) text.pop_back();
    std::ranges::replace(text, '\n', ',');  // the rules of [mixture]
    values_[fmt::format("{}{}{}", of, of.empty() || name.empty() ? "" : ".", name)] = text;
  }
  const std::map<std::string, std::string>& values() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

std::map<std::string, std::string> values_of(const RunConfig& config) {
  Values fields;
  visit_fields(config, fields);
  return fields.values();
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
            "{}: does not hold the images that {} was trained on{}{}: go on with those, or give "
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

std::vector<RunChange> changes_since(const fs::path& checkpoint, const RunConfig& config,
                                     const std::vector<std::string>& allowed,
                                     const data::Store& store) {
  const nlohmann::json manifest = read_checkpoint_manifest(checkpoint);
  std::vector<RunChange> changes;
  const RunChange common{.examples = store.size()};
  try {
    const RunConfig old =
        parse_config(manifest.at("config").get<std::string>(), checkpoint / "state/run.json");
    const std::map<std::string, std::string> before = values_of(old);
    for (const auto& [key, value] : values_of(config)) {
      const Change kind = kind_of(key);
      if (before.at(key) == value || kind == Change::kFree) continue;
      if (kind == Change::kRefused && !is_allowed(key, allowed)) {
        throw UsageError(fmt::format(
            "{} is {} now and was {} up to {}: change it back, or give --allow-change {}", key,
            value, before.at(key), checkpoint.string(), key));
      }
      changes.push_back(common);
      changes.back().key = key;
      changes.back().before = before.at(key);
      changes.back().after = value;
      if (key == "data.caption_rename") changes.back().captions = count_renamed(old, config, store);
    }
    add_store_changes(checkpoint, manifest.value("store", nlohmann::json::object()), config, store,
                      allowed, common, changes);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
  return changes;
}

}  // namespace kessoku::runtime
