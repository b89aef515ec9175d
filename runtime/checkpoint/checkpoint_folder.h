#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/training/partition.h"

namespace kessoku::runtime {

/// Of state/run.json and the state shards. 1: one range a shard. 2: one checksum a file,
/// none of run.json.
inline constexpr int kCheckpointFormat = 3, kOldestCheckpointFormat = 2;

/// Bytes of a checkpoint's file as one rank wrote them; the manifest lists all.
struct FilePart {
  std::string file;  ///< relative to the checkpoint, with /
  uint64_t size;     ///< of the whole file
  uint64_t begin, bytes;
  std::string xxh3;
};
nlohmann::json to_json(const FilePart& part);

/// Names and places in a run's checkpoints/ folder: step-NNNNNNNN (a diffusers folder with state/),
/// the same with .tmp while it is written, and the link `latest`.
std::filesystem::path checkpoints_of(const std::filesystem::path& run);
std::string checkpoint_name(uint64_t step);
std::string state_shard_name(int index, int shards);

/// Complete checkpoints of a run, the newest first: by their names, and a folder `latest`, which a
/// copy may have made of the link, by its manifest.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run);
/// The same, and those whose state/ is gone.
std::vector<std::filesystem::path> list_models(const std::filesystem::path& run);

/// The step of one of those, if possible by its folder's name: that tells even where what is in it
/// is damaged.
uint64_t checkpoint_step(const std::filesystem::path& checkpoint);

/// state/run.json. Throws UsageError if `checkpoint` is none, DataError if the manifest is damaged
/// or of another format.
nlohmann::json read_checkpoint_manifest(const std::filesystem::path& checkpoint);

/// The other way; adds the checksum of `manifest`.
void write_checkpoint_manifest(const std::filesystem::path& checkpoint,
                               const nlohmann::json& manifest);

/// Reads every file that the manifest names. Throws DataError naming the first that is missing, or
/// does not have its size and checksum. Of several `shares` that read at the same time one reads
/// its part of them.
void verify_checkpoint(const std::filesystem::path& checkpoint, int share = 0, int shares = 1);

/// A file that is there, whole, as the manifest is to list it.
FilePart describe_checkpoint_file(const std::filesystem::path& checkpoint,
                                  const std::filesystem::path& file);

/// Makes `beside`, which is complete but for its manifest, the checkpoint `name` of `run`: writes
/// the manifest, flushes all folders to disk, renames, and moves `latest` last. Returns a warning
/// if `latest` cannot be moved, which costs nobody a checkpoint.
std::string commit_checkpoint(const std::filesystem::path& run, const std::filesystem::path& beside,
                              const std::string& name, const nlohmann::json& manifest);

/// Why no run is to resume from a checkpoint: its weights made the training diverge, or its bits
/// may be wrong.
enum class Aside { kDiverged, kUnverified };

/// Renames a checkpoint, so that no run resumes from it. Returns its new name;
/// remove_old_checkpoints removes it when there is a later checkpoint.
std::filesystem::path set_aside(const std::filesystem::path& checkpoint, Aside why);

/// Removes what a run that was killed had begun to write.
void remove_unfinished_checkpoints(const std::filesystem::path& run);

/// Removes old checkpoints: all but the `keep` newest (0 = all stay) and those whose step is a
/// multiple of `milestone` (0 = none). Files in them that are not ours stay.
void remove_old_checkpoints(const std::filesystem::path& run, uint64_t keep, uint64_t milestone);

}  // namespace kessoku::runtime
