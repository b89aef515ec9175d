#include "launcher/model_folder.h"

#include "base/error.h"

namespace kessoku::launcher {

std::filesystem::path resolve_model_folder(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  if (!fs::exists(path)) throw UsageError(fmt::format("{}: no such folder", path.string()));
  if (fs::exists(path / "model_index.json")) return path;
  if (fs::exists(path / "checkpoints/latest")) return path / "checkpoints/latest";
  throw UsageError(fmt::format(
      "{}: neither a model folder (it has no model_index.json) nor a run folder (it has no "
      "checkpoints/latest)",
      path.string()));
}

}  // namespace kessoku::launcher
