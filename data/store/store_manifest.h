#pragma once

#include <nlohmann/json.hpp>

#include "data/store/store.h"

namespace kessoku::data {

nlohmann::json to_json(const Skipped& skipped);
/// Throws nlohmann's exceptions.
Skipped skipped_from_json(const nlohmann::json& json);

nlohmann::json to_json(const Category& category);
nlohmann::json to_json(const Settings& settings);

nlohmann::json to_json(const StoreManifest::Shard& shard);
/// Throws nlohmann's exceptions, and DataError for a name that leads out of the store's folder.
StoreManifest::Shard shard_from_json(const nlohmann::json& json);

/// The format that store.json claims to have; 0 if it cannot be told.
int claimed_version(const std::filesystem::path& store);

/// As text for a file or a screen: bytes that are not UTF-8 (file names may hold any) are replaced.
std::string dump(const nlohmann::json& json);

}  // namespace kessoku::data
