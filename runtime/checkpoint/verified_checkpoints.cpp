#include "runtime/checkpoint/verified_checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/latest_link.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;

/// False too for what cannot be read, or was written before there was verification.
bool is_verified(const fs::path& checkpoint) {
  try {
    return read_checkpoint_manifest(checkpoint).value("verified", false);
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

std::string fall_back_to_verified(const fs::path& run) {
  const std::vector<fs::path> all = list_checkpoints(run);
  if (all.empty()) return "the same command then starts from step 0";
  const auto sound = std::ranges::find_if(all, is_verified);
  if (sound == all.end())
    return fmt::format("no checkpoint was verified; the same command resumes from {}",
                       all.front().string());
  for (auto newer = all.begin(); newer != sound; ++newer) set_aside(*newer, Aside::kUnverified);
  point_latest_at(checkpoints_of(run), sound->filename());
  return fmt::format("the same command resumes from {}", sound->string());
}

}  // namespace kessoku::runtime
