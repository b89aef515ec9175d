#include "runtime/checkpoint/newest_model.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/system_error.h"
#include "runtime/checkpoint/checkpoint_folder.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;

namespace {

bool is_model(const fs::path& folder) {
  std::error_code absent;
  return fs::exists(folder / "model_index.json", absent);
}

/// Throws DataError if a file of the model is missing or too short.
void require_files(const fs::path& checkpoint) {
  const nlohmann::json manifest = read_checkpoint_manifest(checkpoint);
  for (const nlohmann::json& entry : manifest.at("files")) {
    const fs::path name = entry.at("file").get<std::string>();
    if (*name.begin() == "state") continue;
    const auto size = entry.value("size", entry.at("bytes").get<uint64_t>());
    std::error_code absent;
    if (fs::file_size(checkpoint / name, absent) != size || absent) {
      throw DataError(fmt::format("{}: is missing or not whole", (checkpoint / name).string()));
    }
  }
}

bool is_whole(const fs::path& checkpoint) {
  std::error_code absent;
  if (!fs::exists(checkpoint / "state", absent)) return true;  // somebody needed the room
  try {
    require_files(checkpoint);
    return true;
  } catch (const SystemError&) {
    throw;
  } catch (const std::exception& error) {
    log_warning("{}; taking the checkpoint before it", error.what());
    return false;
  }
}

}  // namespace

std::optional<fs::path> newest_model(const fs::path& run) {
  for (const fs::path& checkpoint : list_models(run)) {
    if (is_model(checkpoint) && is_whole(checkpoint)) return checkpoint;
  }
  const fs::path latest = checkpoints_of(run) / "latest";
  return is_model(latest) ? std::optional(latest) : std::nullopt;
}

std::optional<fs::path> run_of_latest(const fs::path& path) {
  const fs::path place = path.filename().empty() ? path.parent_path() : path;
  if (place.filename() != "latest" || place.parent_path().filename() != "checkpoints")
    return std::nullopt;
  const fs::path run = place.parent_path().parent_path();
  return run.empty() ? fs::path(".") : run;
}

}  // namespace kessoku::runtime
