#pragma once

#include <nlohmann/json.hpp>

#include "data/sampling/draw_counts.h"

namespace kessoku::launcher {

/// What `plan --json` prints: {"examples", "global_batch", "steps", "draws", "categories":
/// [{"path", "examples", "share", "draws_expected", "draws_planned", …}], "buckets": {"WxH":
/// {"examples", "share", …}}, "warnings": []}. Categories count their whole subtree; keys that
/// begin with "own_" are of the folder's own images.
nlohmann::json describe_plan(const data::StoreManifest& manifest, const data::Mixture& mixture,
                             const data::Sampler& sampler, const data::DrawCounts& plan);

/// The same as a table for a person.
std::string plan_table(const nlohmann::json& plan);

/// The folders as CSV, with a header.
std::string plan_csv(const nlohmann::json& plan);

/// A field of CSV (RFC 4180), quoted only where it must be.
std::string csv_field(const std::string& text);

}  // namespace kessoku::launcher
