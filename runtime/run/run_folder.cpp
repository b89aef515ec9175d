#include "runtime/run/run_folder.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/memory_folder.h"
#include "runtime/run/overwritten_files.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;

namespace {

/// All ranks read a checkpoint together, since that takes long. Rank 0 chooses which.
class JointVerification {
 public:
  explicit JointVerification(Communicator& communicator) : communicator_(communicator) {}

  /// On rank 0: as verify_checkpoint.
  void verify(const fs::path& checkpoint) {
    communicator_.broadcast_text(checkpoint.string());
    verify_share(checkpoint);
  }
  void end() { communicator_.broadcast_text(""); }

  /// On the other ranks: takes part until the end.
  void take_part() {
    for (std::string next; !(next = communicator_.broadcast_text("")).empty();) {
      try {
        verify_share(next);
      } catch (const Error&) {  // rank 0 has it, too
      }
    }
  }

 private:
  void verify_share(const fs::path& checkpoint) {
    std::string problem;
    ExitCode code = ExitCode::kDone;
    try {
      verify_checkpoint(checkpoint, communicator_.rank(), communicator_.size());
    } catch (const Error& error) {
      code = error.exit_code();
      problem = error.what();
    } catch (const std::exception& error) {
      code = ExitCode::kCannotWrite;  // of the file system
      problem = error.what();
    }
    const nlohmann::json own{static_cast<int>(code), problem};
    const std::string said = own.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    for (const std::string& text : communicator_.all_gather_text(said)) {
      const nlohmann::json verdict = parse_json(text, "a rank's verdict");
      const auto worst = static_cast<ExitCode>(verdict.at(0).get<int>());
      if (worst != ExitCode::kDone) throw Error(worst, verdict.at(1).get<std::string>());
    }
  }

  Communicator& communicator_;
};

/// The newest checkpoint that is whole. Damaged ones are passed over with a warning.
std::optional<fs::path> newest_whole_checkpoint(const fs::path& run,
                                                JointVerification& verification) {
  const std::vector<fs::path> all = list_checkpoints(run);
  for (const fs::path& checkpoint : all) {
    try {
      verification.verify(checkpoint);
      return checkpoint;
    } catch (const Error& error) {
      // Others say nothing about the checkpoint.
      if (error.exit_code() != ExitCode::kBadData && error.exit_code() != ExitCode::kUsage) throw;
      log_warning("{}; trying the checkpoint before it", error.what());
    }
  }
  if (all.empty()) return std::nullopt;
  throw DataError(fmt::format(
      "{}: none of its {} checkpoints is whole; to start again, give --out another folder",
      checkpoints_of(run).string(), all.size()));
}

std::optional<fs::path> find_checkpoint(const fs::path& run, const std::string& resume,
                                        JointVerification& verification) {
  if (resume == "auto" || resume == "memory") return newest_whole_checkpoint(run, verification);
  if (resume == "never") {
    if (!fs::exists(run / "log.jsonl")) return std::nullopt;
    throw UsageError(
        fmt::format("{}: holds a run already: give another --out, or --resume auto to resume it",
                    run.string()));
  }
  std::optional<fs::path> found;
  if (fs::exists(checkpoints_of(resume))) {
    found = newest_whole_checkpoint(resume, verification);
  } else if (fs::exists(resume)) {
    verification.verify(resume);
    found = resume;
  }
  if (!found) {
    throw UsageError(fmt::format(
        "--resume {}: there is no checkpoint; use auto, memory, never, or a checkpoint's folder",
        resume));
  }
  return found;
}

/// Of the checkpoints on disk, as rank 0 sees them. Collective.
uint64_t newest_step(const fs::path& run, Communicator& communicator) {
  const std::vector<fs::path> all = list_checkpoints(run);
  const uint64_t step = all.empty() ? 0 : checkpoint_step(all.front());
  return std::stoull(communicator.broadcast_text(std::to_string(step)));
}

}  // namespace

fs::path run_path(const RunConfig& config, const std::string& out) {
  return out.empty() ? fs::path("runs") / config.name : fs::path(out);
}

RunFolder open_run_folder(const RunConfig& config, const std::string& out,
                          const std::string& resume, Communicator& communicator) {
  RunFolder folder{run_path(config, out), std::nullopt, nullptr};
  const bool first = communicator.rank() == 0;
  if (first) {
    require_own_files(folder.path, config);
    fs::create_directories(folder.path);
    folder.lock = std::make_shared<RunLock>(folder.path);
  }
  communicator.barrier();  // what another training has in memory is not to be touched
  const fs::path memory = memory_folder_of(config, folder.path);
  if (resume == "memory") {
    folder.resume_from =
        gather_memory_checkpoint(memory, newest_step(folder.path, communicator), communicator);
    if (folder.resume_from) return folder;
  } else {
    remove_memory_checkpoints(memory);
  }
  std::string found;
  JointVerification verification(communicator);
  if (first) {
    found = find_checkpoint(folder.path, resume, verification).value_or("").string();
    verification.end();
  } else {
    verification.take_part();
  }
  found = communicator.broadcast_text(found);
  if (!found.empty()) folder.resume_from = found;
  return folder;
}

void write_run_description(const fs::path& run, const RunConfig& config,
                           const std::vector<data::Category>& categories,
                           const data::Mixture& mixture, uint64_t pass_draws) {
  write_file_atomically(run / "config.toml", to_toml(config));
  nlohmann::json listed = nlohmann::json::array();
  for (size_t i = 0; i < categories.size(); ++i) {
    listed.push_back({{"path", categories[i].path},
                      {"examples", mixture.examples[i]},
                      {"share", mixture.category_share[i]}});
  }
  const nlohmann::json document{{"categories", listed}, {"pass_draws", pass_draws}};
  write_file_atomically(run / "mixture.json", document.dump(1) + "\n");
}

}  // namespace kessoku::runtime
