#include "runtime/run_changes.h"

#include <ATen/ops/empty.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"
#include "data/caption_edit.h"
#include "model/safetensors.h"
#include "runtime/checkpoint_folder.h"
#include "runtime/config_fields.h"
#include "runtime/config_writer.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using metrics::RunEvent;

/// A visitor of `visit_fields`: the keys that say what is trained on, as text.
class TrainedOn {
 public:
  template <typename Field>
  void operator()(const char* section, const char* key, const Field& field) {
    // How the store is read, and where it lies, makes no difference.
    constexpr std::array<std::string_view, 5> kOther{"store", "threads", "prefetch", "on_bad_row",
                                                     "accept_changes"};
    const std::string_view of = section, name = key;
    if (of == "data" ? std::ranges::find(kOther, name) != kOther.end() : of != "mixture") return;
    ConfigWriter writer;
    writer("", key, field);
    std::string text = writer.text();
    if (!name.empty()) text.erase(0, name.size() + 3);  // "key = "
    while (text.ends_with('\n')) text.pop_back();
    std::ranges::replace(text, '\n', ',');  // the rules of [mixture]
    values_[fmt::format("{}{}{}", of, name.empty() ? "" : ".", name)] = text;
  }
  const std::map<std::string, std::string>& values() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

std::map<std::string, std::string> trained_on(const RunConfig& config) {
  TrainedOn fields;
  visit_fields(config, fields);
  return fields.values();
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
RunEvent compare_images(const fs::path& ledger, const data::Store& store) {
  RunEvent counts;
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

/// What became of the store; `event` holds what all changes have in common.
void add_store_changes(const fs::path& checkpoint, const nlohmann::json& saved,
                       const RunConfig& config, const data::Store& store, const RunEvent& event,
                       std::vector<RunEvent>& changes) {
  const nlohmann::json now = digests_json(store.digests());
  if (saved == now) return;
  const RunEvent counts = compare_images(checkpoint / kLedgerFile, store);
  for (const auto& [part, digest] : now.items()) {
    if (saved.value(part, "") == digest) continue;
    RunEvent change = event;
    change.key = "store." + part;
    change.before = saved.value(part, "");
    change.after = digest;
    if (part == "captions") change.captions = counts.captions;
    if (part == "rows") {
      change.images_added = counts.images_added;
      change.images_removed = counts.images_removed;
      if (!config.data.accept_changes) {
        const std::string what = concerned(change);
        throw UsageError(fmt::format(
            "{}: does not hold the images that {} was trained on{}{}: go on with those, or set "
            "data.accept_changes = true",
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

std::vector<RunEvent> changes_since(const fs::path& checkpoint, const RunConfig& config,
                                    const data::Store& store) {
  const nlohmann::json manifest = read_checkpoint_manifest(checkpoint);
  std::vector<RunEvent> changes;
  RunEvent event{.event = "changed", .examples = store.size()};
  try {
    event.step = manifest.at("step").get<uint64_t>();
    const RunConfig old =
        parse_config(manifest.at("config").get<std::string>(), checkpoint / "state/run.json");
    const std::map<std::string, std::string> before = trained_on(old);
    for (const auto& [key, value] : trained_on(config)) {
      if (before.at(key) == value) continue;
      changes.push_back(event);
      changes.back().key = key;
      changes.back().before = before.at(key);
      changes.back().after = value;
      if (key == "data.caption_rename") changes.back().captions = count_renamed(old, config, store);
    }
    add_store_changes(checkpoint, manifest.value("store", nlohmann::json::object()), config, store,
                      event, changes);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        fmt::format("{}: state/run.json is damaged: {}", checkpoint.string(), error.what()));
  }
  return changes;
}

}  // namespace kessoku::runtime
