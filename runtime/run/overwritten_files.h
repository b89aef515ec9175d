#pragma once

#include <filesystem>

#include "runtime/config/config.h"

namespace kessoku::runtime {

/// Throws UsageError naming a file that a training in folder `run` would overwrite and that no
/// training wrote: a run file called config.toml, a log of something else.
void require_own_files(const std::filesystem::path& run, const RunConfig& config);

}  // namespace kessoku::runtime
