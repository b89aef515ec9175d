#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "model/stable_diffusion/model_files.h"

namespace kessoku::launcher {

/// Throws UsageError unless `destination` may be written: it is not there yet, or an empty folder,
/// or, with `force`, something that this program wrote as a model, whole, with nothing else in it,
/// and that `source` does not need.
void require_free(const std::filesystem::path& destination, bool force,
                  const model::ModelSource& source);

/// Writes a folder beside its place and puts it there whole. Of the model that was there, its files
/// are removed, and nothing else.
void replace_folder(const std::filesystem::path& folder,
                    const std::function<void(const std::filesystem::path&)>& write);

}  // namespace kessoku::launcher
