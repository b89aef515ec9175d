#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// The environment variable that kessoku launch sets: without it nothing would ever resume from
/// memory.
inline constexpr const char* kSupervised = "KESSOKU_SUPERVISED";

/// The folder, on each host, of a run's checkpoints in memory: one folder a step, which holds this
/// file beside the files below.
std::filesystem::path memory_folder_of(const RunConfig& config, const std::filesystem::path& run);
inline constexpr const char* kMemoryManifest = "manifest.json";

/// A rank's shard of the state, of `ranks`, relative to the checkpoint.
std::string memory_shard_name(int rank, int ranks);
/// What the manifest will say of that shard. Written when the shard is whole.
std::string memory_part_name(int rank, int ranks);

/// Whether `folder` is a folder of this user: all users share the place where it lies.
bool is_own_folder(const std::filesystem::path& folder);

/// The newest step in `folder` whose parts are all on this host; 0 if there is none.
uint64_t newest_memory_step(const std::filesystem::path& folder);

/// The newest checkpoint in memory, if it is later than `step` and whole: each host may hold some
/// of its parts, and then has all of them, so that any number of ranks can load it. What else is in
/// `folder` is removed. Collective.
std::optional<std::filesystem::path> gather_memory_checkpoint(const std::filesystem::path& folder,
                                                              uint64_t step,
                                                              Communicator& communicator);

/// Frees the memory. What cannot be removed stays.
void remove_memory_checkpoints(const std::filesystem::path& folder);

}  // namespace kessoku::runtime
