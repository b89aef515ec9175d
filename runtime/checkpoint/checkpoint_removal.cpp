#include "runtime/checkpoint/checkpoint_removal.h"

#include <vector>

#include "model/stable_diffusion/folder_files.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;

namespace {

/// Whether checkpoints hold files of this name, relative to their folder.
bool is_checkpoint_file(const fs::path& name) {
  const std::string file = name.filename().string();
  if (name.parent_path() == "state")
    return file == "run.json" || file == "store.safetensors" ||
           (file.starts_with("shard-") && file.ends_with(".safetensors"));
  if (!name.has_parent_path() && file.starts_with("part-") && file.ends_with(".json")) return true;
  return model::is_model_folder_file(name);
}

}  // namespace

bool remove_checkpoint(const fs::path& checkpoint) {
  fs::remove(checkpoint / "state" / "run.json");
  std::vector<fs::path> files, folders{checkpoint};
  for (const auto& entry : fs::recursive_directory_iterator(checkpoint)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) folders.push_back(entry.path());
    if (entry.is_regular_file() && is_checkpoint_file(entry.path().lexically_relative(checkpoint)))
      files.push_back(entry.path());
  }
  for (const fs::path& file : files) fs::remove(file);
  std::error_code in_use;  // the folder of a file that stays
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder)
    fs::remove(*folder, in_use);
  return !fs::exists(checkpoint);
}

}  // namespace kessoku::runtime
