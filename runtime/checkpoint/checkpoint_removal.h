#pragma once

#include <filesystem>

namespace kessoku::runtime {

/// Removes a checkpoint's files, and the folders that are empty then. Whatever else somebody has
/// put there stays: false then. The manifest goes first, so that what is left of a removal that was
/// cut off counts as no checkpoint. Throws filesystem_error if a file cannot be removed.
bool remove_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace kessoku::runtime
