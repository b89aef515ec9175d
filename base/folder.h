#pragma once

#include <filesystem>
#include <vector>

namespace kessoku {

/// Whether the path leads to a file (a folder), links followed. Throws SystemError where that
/// cannot be told: what cannot be asked is not "not there".
bool is_file(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

/// Returns a path at which a file is to be made. Throws SystemError that names it if its folder is
/// not there: the system's own error would name a temporary file.
const std::filesystem::path& in_a_folder(const std::filesystem::path& path);

/// What a folder holds, in no order. Throws SystemError if it cannot be read whole.
std::vector<std::filesystem::directory_entry> list_folder(const std::filesystem::path& folder);

}  // namespace kessoku
