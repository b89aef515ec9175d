#pragma once

#include <map>
#include <nlohmann/json.hpp>

#include "data/sampling/draw_counts.h"

namespace kessoku::launcher {

/// What a run draws of some images: of a folder's subtree, or of its own.
struct PlannedDraws {
  uint64_t examples = 0;
  double share = 0;
  double draws_expected = 0;  ///< share × draws of the run
  data::DrawCounts::Part counted;
  double views = 0;  ///< draws an example that is not held out
};

struct PlannedFolder {
  std::string path;
  PlannedDraws whole, own;
};

struct PlannedBucket {
  uint64_t examples = 0;
  double share = 0;
  uint64_t draws = 0;
};

struct DrawPlan {
  uint64_t examples = 0, examples_drawn = 0;
  uint64_t global_batch = 0, steps = 0, draws = 0, pass_draws = 0;
  std::vector<PlannedFolder> folders;
  std::map<std::string, PlannedBucket> buckets;  ///< by "WxH"
  std::vector<std::string> warnings;
};

DrawPlan describe_plan(const data::StoreManifest& manifest, const data::Mixture& mixture,
                       const data::Sampler& sampler, const data::DrawCounts& plan);

/// What `plan --json` prints: {"examples", "global_batch", "steps", "draws", "categories":
/// [{"path", "examples", "share", "draws_expected", "draws_planned", …}], "buckets": {"WxH":
/// {"examples", "share", …}}, "warnings": []}. Categories count their whole subtree; keys that
/// begin with "own_" are of the folder's own images.
nlohmann::json to_json(const DrawPlan& plan);

/// The same as a table for a person.
std::string plan_table(const DrawPlan& plan);

/// The folders as CSV, with a header.
std::string plan_csv(const DrawPlan& plan);

/// A field of CSV (RFC 4180), quoted only where it must be.
std::string csv_field(const std::string& text);

}  // namespace kessoku::launcher
