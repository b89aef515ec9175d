#include "data/store/store_manifest.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/system_error.h"
#include "data/store/store_layout.h"

namespace kessoku::data {

using nlohmann::json;

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 30;
const std::vector<std::string> kKinds{"images", "latents", "moments"};  // in the order of Kind

double in_range(double value, double most, const char* what) {
  if (!(value >= 0 && value <= most) || !std::isfinite(value)) {
    throw DataError(fmt::format("{} {} out of range", what, value));
  }
  return value;
}

Category category_from_json(const json& entry) {
  Category category{.path = entry.at("path").get<std::string>()};
  category.multiply = in_range(entry.at("multiply").get<double>(), HUGE_VAL, "multiply");
  if (entry.contains("caption_dropout")) {
    category.caption_dropout =
        in_range(entry["caption_dropout"].get<double>(), 1, "caption_dropout");
  }
  if (entry.contains("flip")) category.flip = in_range(entry["flip"].get<double>(), 1, "flip");
  if (entry.contains("weight"))
    category.weight = in_range(entry["weight"].get<double>(), HUGE_VAL, "weight");
  return category;
}

std::optional<double> optional_from_json(const json& entry, const char* key) {
  if (!entry.contains(key)) return std::nullopt;
  return in_range(entry[key].get<double>(), 1, key);
}

/// What stands for all that was not said need not be there.
Settings settings_from_json(const json& entry) {
  Settings settings;
  settings.multiply = in_range(entry.value("multiply", 1.0), HUGE_VAL, "multiply");
  settings.caption_dropout = optional_from_json(entry, "caption_dropout");
  settings.flip = optional_from_json(entry, "flip");
  settings.loss_scale = entry.value("loss_scale", 1.0);
  if (!std::isfinite(settings.loss_scale)) throw DataError("loss_scale is no number");
  settings.shuffle_tags = entry.value("shuffle_tags", false);
  settings.longest_caption = entry.value("longest_caption", uint32_t{0});
  settings.batch_id = entry.value("batch_id", "");
  return settings;
}

/// nlohmann would wrap -1 and cut 1.5.
uint64_t count_from_json(const json& value) {
  if (!value.is_number_unsigned()) throw DataError(fmt::format("{} is not a count", value.dump()));
  return value.get<uint64_t>();
}

/// A file in the store's own folder.
std::string shard_name(const json& value) {
  auto name = value.get<std::string>();
  if (name.find('/') != std::string::npos || name.starts_with('.'))
    throw DataError(fmt::format("'{}' is not the name of a shard in this folder", name));
  return name;
}

std::string checksum_of(const json& document) {
  const std::string text = dump(document);
  return to_hex(checksum(std::as_bytes(std::span(text))));
}

/// Over all other keys. A manifest written by hand needs none.
void check_checksum(json document) {
  if (!document.contains("checksum")) return;
  const auto expected = document["checksum"].get<std::string>();
  document.erase("checksum");
  if (checksum_of(document) != expected) {
    throw DataError(
        "damaged, or changed by hand: its checksum does not hold; prepare the store again, or, if "
        "you know what you changed, delete its key \"checksum\"");
  }
}

StoreManifest from_json(const json& document) {
  StoreManifest manifest;
  manifest.version = document.at("version").get<int>();
  if (manifest.version != kStoreVersion) {
    throw DataError(
        fmt::format("store version {}, this program reads {}: {}", manifest.version, kStoreVersion,
                    manifest.version > kStoreVersion ? "it was made by a newer kessoku, use that"
                                                     : "prepare it again"));
  }
  check_checksum(document);
  manifest.created_by = document.value("created_by", "");
  manifest.row_settings = document.value("row_settings", "");
  manifest.resolution = document.at("resolution").get<int64_t>();
  manifest.dialect = parse_dialect(document.at("dialect").get<std::string>());
  for (const json& kind : document.at("kept"))
    manifest.kept.push_back(parse_kind(kind.get<std::string>()));
  if (manifest.kept.empty()) throw DataError("nothing is kept");
  const json& encoder = document.at("encoder");
  manifest.encoder.digest = encoder.at("digest").get<std::string>();
  manifest.encoder.scaling_factor =
      in_range(encoder.at("scaling_factor").get<double>(), HUGE_VAL, "scaling_factor");
  std::set<std::string> names;
  for (const json& bucket : document.at("buckets")) {
    const auto name = bucket.get<std::string>();
    manifest.buckets.push_back(parse_bucket(name, "buckets"));
    if (!names.insert(name).second) throw DataError(fmt::format("bucket {} is listed twice", name));
  }
  for (const json& entry : document.at("shards")) {
    manifest.shards.push_back(shard_from_json(entry));
    for (const auto& [bucket, rows] : manifest.shards.back().rows) {
      if (!names.contains(bucket)) {
        throw DataError(
            fmt::format("shard {}: bucket {} is not listed", manifest.shards.back().file, bucket));
      }
    }
  }
  for (const json& entry : document.at("categories"))
    manifest.categories.push_back(category_from_json(entry));
  manifest.settings.clear();
  for (const json& entry : document.at("settings"))
    manifest.settings.push_back(settings_from_json(entry));
  for (const json& entry : document.at("skipped"))
    manifest.skipped.push_back(skipped_from_json(entry));
  manifest.warnings = document.value("warnings", manifest.warnings);
  return manifest;
}

}  // namespace

std::string to_string(Kind kind) { return kKinds[static_cast<size_t>(kind)]; }

Kind parse_kind(const std::string& name) {
  const auto found = std::ranges::find(kKinds, name);
  if (found != kKinds.end()) return static_cast<Kind>(found - kKinds.begin());
  const std::string near = nearest_word(name, kKinds);
  throw UsageError(fmt::format("'{}' is nothing that a store keeps; {}", name,
                               near.empty() ? fmt::format("known: {}", fmt::join(kKinds, ", "))
                                            : fmt::format("did you mean '{}'?", near)));
}

json to_json(const Category& category) {
  json result{{"path", category.path}, {"multiply", category.multiply}};
  if (category.caption_dropout) result["caption_dropout"] = *category.caption_dropout;
  if (category.flip) result["flip"] = *category.flip;
  if (category.weight) result["weight"] = *category.weight;
  return result;
}

json to_json(const Settings& settings) {
  json result{{"multiply", settings.multiply}, {"loss_scale", settings.loss_scale}};
  if (settings.caption_dropout) result["caption_dropout"] = *settings.caption_dropout;
  if (settings.flip) result["flip"] = *settings.flip;
  if (settings.shuffle_tags) result["shuffle_tags"] = true;
  if (settings.longest_caption > 0) result["longest_caption"] = settings.longest_caption;
  if (!settings.batch_id.empty()) result["batch_id"] = settings.batch_id;
  return result;
}

json to_json(const StoreManifest::Shard& shard) {
  json result{{"file", shard.file},
              {"bytes", shard.bytes},
              {"rows", shard.rows},
              {"digests", shard.digests}};
  if (!shard.rows_file.empty()) {
    result["rows_file"] = shard.rows_file;
    result["rows_bytes"] = shard.rows_bytes;
  }
  return result;
}

StoreManifest::Shard shard_from_json(const json& entry) {
  StoreManifest::Shard shard{.file = shard_name(entry.at("file"))};
  shard.bytes = count_from_json(entry.value("bytes", json(uint64_t{0})));
  shard.digests = entry.value("digests", shard.digests);
  if (entry.contains("rows_file")) {
    shard.rows_file = shard_name(entry["rows_file"]);
    shard.rows_bytes = count_from_json(entry.at("rows_bytes"));
  }
  for (const auto& [bucket, rows] : entry.at("rows").items())
    shard.rows[bucket] = count_from_json(rows);
  return shard;
}

json to_json(const Skipped& skipped) {
  return {{"source", skipped.source}, {"reason", skipped.reason}};
}

Skipped skipped_from_json(const json& entry) {
  return {entry.at("source").get<std::string>(), entry.at("reason").get<std::string>()};
}

int claimed_version(const std::filesystem::path& store) {
  try {
    return kessoku::parse_json(read_file(store / "store.json", kMostBytes), "")
        .at("version")
        .get<int>();
  } catch (const SystemError&) {
    throw;
  } catch (const std::exception&) {
    return 0;
  }
}

std::string dump(const json& document) {
  return document.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

StoreManifest StoreManifest::read(const std::filesystem::path& store) {
  const std::filesystem::path path = store / "store.json";
  if (!is_file(path)) {
    throw UsageError(fmt::format("{}: no store here (no store.json); make one with kessoku prepare",
                                 store.string()));
  }
  const json document = kessoku::parse_json(read_file(path, kMostBytes), path.string());
  try {
    return from_json(document);
  } catch (const json::exception& error) {
    throw DataError(fmt::format("{}: damaged: {}", path.string(), error.what()));
  } catch (const Error& error) {
    throw DataError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

void StoreManifest::write(const std::filesystem::path& store) const {
  json document{
      {"version", version},
      {"created_by", created_by},
      {"row_settings", row_settings},
      {"resolution", resolution},
      {"dialect", to_string(dialect)},
      {"kept", json::array()},
      {"encoder", {{"digest", encoder.digest}, {"scaling_factor", encoder.scaling_factor}}},
      {"shards", json::array()},
      {"buckets", json::array()},
      {"categories", json::array()},
      {"settings", json::array()},
      {"skipped", json::array()},
      {"warnings", warnings}};
  for (const Kind kind : kept) document["kept"].push_back(to_string(kind));
  for (const Shard& shard : shards) document["shards"].push_back(to_json(shard));
  for (const Bucket& bucket : buckets) document["buckets"].push_back(to_string(bucket));
  for (const Category& category : categories) document["categories"].push_back(to_json(category));
  for (const Settings& entry : settings) document["settings"].push_back(to_json(entry));
  for (const Skipped& entry : skipped) document["skipped"].push_back(to_json(entry));
  document["checksum"] = checksum_of(document);
  write_file_atomically(store / "store.json", dump(document));
}

}  // namespace kessoku::data
