#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "data/sampling/mixture.h"
#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"
#include "runtime/run/run_lock.h"

namespace kessoku::runtime {

/// Where a run writes, and what it resumes from. No other training does so meanwhile.
struct RunFolder {
  std::filesystem::path path;
  std::optional<std::filesystem::path> resume_from;  ///< a checkpoint
  std::shared_ptr<const RunLock> lock;               ///< rank 0 has it
};

/// The run's folder: `out`, or runs/<name> if that is empty.
std::filesystem::path run_path(const RunConfig& config, const std::string& out);

/// `out` as above. `resume`: "auto" (the folder's latest checkpoint, if any), "memory" (the same,
/// or a later one in the hosts' memory, which every other value frees), "never" (throws UsageError
/// if the folder holds a run), or a checkpoint or run folder. Rank 0 looks, and verifies: a damaged
/// checkpoint is passed over, with a warning, for the one before it. Throws DataError if none is
/// whole, UsageError if the folder holds files that are not a training's and would be overwritten.
/// Collective.
RunFolder open_run_folder(const RunConfig& config, const std::string& out,
                          const std::string& resume, Communicator& communicator);

/// config.toml and mixture.json: what was asked for. For rank 0.
void write_run_description(const std::filesystem::path& run, const RunConfig& config,
                           const std::vector<data::Category>& categories,
                           const data::Mixture& mixture, uint64_t pass_draws);

}  // namespace kessoku::runtime
