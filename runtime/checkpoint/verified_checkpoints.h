#pragma once

#include <filesystem>
#include <string>

namespace kessoku::runtime {

/// After wrong bits: sets aside the checkpoints that are newer than the newest one whose bits were
/// verified when it was written, so that no run resumes from them. Where none was verified all
/// stay, since nothing better is known. Returns from what the same command then resumes.
std::string fall_back_to_verified(const std::filesystem::path& run);

}  // namespace kessoku::runtime
