#include "launcher/replaced_output.h"

#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/log.h"
#include "model/stable_diffusion/folder_files.h"

namespace kessoku::launcher {

namespace fs = std::filesystem;

namespace {

/// Whether a file is one that `kessoku convert` wrote: those carry their configs.
bool is_written_file(const fs::path& file) {
  if (fs::file_size(file) == 0) return true;
  try {
    return model::open_weight_file(file).metadata().contains(model::kConfigKey);
  } catch (const DataError&) {
    return false;
  }
}

/// What a folder holds that is no part of a model that this program wrote; empty if all is.
fs::path find_foreign(const fs::path& folder) {
  bool has_config = false;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    fs::path name = entry.path().lexically_relative(folder);
    if (entry.is_symlink()) return name;
    if (entry.is_directory()) continue;
    if (!entry.is_regular_file() || !model::is_model_folder_file(name)) return name;
    if (name.filename() != "config.json") continue;
    if (!model::is_written_config(entry.path())) return name;
    has_config = true;
  }
  return has_config ? fs::path() : fs::path("no config.json of a network");
}

bool is_within(const fs::path& path, const fs::path& folder) {
  const fs::path rest = path.lexically_relative(folder);
  return !rest.empty() && *rest.begin() != "..";
}

/// Whether replacing `destination` would take away what is read meanwhile.
bool needs(const fs::path& source, const fs::path& destination) {
  if (source.empty() || !fs::exists(source)) return false;
  const fs::path from = fs::weakly_canonical(source), to = fs::weakly_canonical(destination);
  if (fs::equivalent(from, to) || is_within(from, to)) return true;
  return is_within(to, from) &&
         (fs::is_directory(to) || model::is_model_folder_file(to.lexically_relative(from)));
}

/// Leaves folders that are not empty.
void remove_model_files(const fs::path& folder) {
  std::vector<fs::path> files, folders{folder};
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory()) folders.push_back(entry.path());
    if (entry.is_regular_file() &&
        model::is_model_folder_file(entry.path().lexically_relative(folder)))
      files.push_back(entry.path());
  }
  for (const fs::path& file : files) fs::remove(file);
  std::error_code in_use;
  for (auto one = folders.rbegin(); one != folders.rend(); ++one) fs::remove(*one, in_use);
  if (fs::exists(folder)) log_warning("what else was there is now in {}", folder.string());
}

void flush_folder(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) fsync_path(entry.path());
  fsync_path(folder);
}

}  // namespace

void require_free(const fs::path& destination, bool force, const model::ModelSource& source) {
  const auto refuse = [&](const std::string& why) {
    throw UsageError(fmt::format("convert: {} is there already{}", destination.string(), why));
  };
  const fs::file_status status = fs::symlink_status(destination);
  if (!fs::exists(status)) return;
  const bool is_folder = fs::is_directory(status);
  if (is_folder && fs::is_empty(destination)) return;
  if (!force) refuse("; --force replaces it if kessoku convert wrote it");
  const std::string instead = ": remove it yourself, or give another name";
  for (const fs::path& needed : {source.path, source.config, source.vae, source.tokenizer}) {
    if (needs(needed, destination))
      refuse(fmt::format(" and is, or holds, what is read from ({}): give another name",
                         needed.string()));
  }
  if (is_folder) {
    const fs::path foreign = find_foreign(destination);
    if (!foreign.empty())
      refuse(
          fmt::format(", and --force only replaces what kessoku convert wrote, not a folder "
                      "with {}{}",
                      foreign.string(), instead));
  } else if (!fs::is_regular_file(status) || !is_written_file(destination)) {
    refuse(", and --force only replaces what kessoku convert wrote, which this is not" + instead);
  }
}

void replace_folder(const fs::path& folder, const std::function<void(const fs::path&)>& write) {
  const fs::path place = folder.filename().empty() ? folder.parent_path() : folder;
  const fs::path beside = place.string() + fmt::format(".tmp{}", ::getpid());
  const fs::path old = place.string() + fmt::format(".old{}", ::getpid());
  if (place.has_parent_path()) fs::create_directories(place.parent_path());
  if (!fs::create_directory(beside) || fs::exists(old))
    throw UsageError(fmt::format("{} is in the way: move it away", beside.string()));
  try {
    write(beside);
    flush_folder(beside);
  } catch (...) {
    fs::remove_all(beside);  // made here
    throw;
  }
  const bool replaces = fs::exists(place);
  if (replaces) fs::rename(place, old);
  fs::rename(beside, place);
  fsync_path(place.has_parent_path() ? place.parent_path() : fs::path("."));
  if (replaces) remove_model_files(old);
}

}  // namespace kessoku::launcher
