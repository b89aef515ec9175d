#pragma once

#include <filesystem>
#include <string>

namespace kessoku::runtime {

/// Lets the link `latest` of a checkpoints/ folder point to the checkpoint `name`: for people and
/// other tools, nothing here relies on it. Returns a warning where that is not possible: on file
/// systems without links, or where a copy has left a folder or another file in its place, which
/// stays.
std::string point_latest_at(const std::filesystem::path& checkpoints, const std::string& name);

}  // namespace kessoku::runtime
