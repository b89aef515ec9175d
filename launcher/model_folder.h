#pragma once

#include <filesystem>

namespace kessoku::launcher {

/// The diffusers folder that `path` means: itself, or, if it is a run folder, its newest
/// checkpoint. Throws UsageError if it is neither.
std::filesystem::path resolve_model_folder(const std::filesystem::path& path);

}  // namespace kessoku::launcher
