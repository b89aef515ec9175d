#include "data/dataset/folder_lister.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/folder.h"
#include "base/system_error.h"
#include "data/captions/caption.h"

namespace kessoku::data {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kImageExtensions[] = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jfif"};
constexpr std::string_view kNewExtensions[] = {".gif", ".avif", ".heif", ".heic", ".tif", ".tiff"};

/// Made by systems and NAS devices, not by people; some cannot be read by anyone.
constexpr std::string_view kSystemFolders[] = {
    "@eaDir",       "@Recycle",   "@Recently-Snapshot",       "#recycle", "#snapshot", "__MACOSX",
    "$RECYCLE.BIN", "lost+found", "System Volume Information"};

void add_entry(const fs::directory_entry& entry, Folder& folder) {
  std::string name = entry.path().filename().string();
  if (name.starts_with('.')) return;
  std::error_code unknown;  // the file system need not say it with the name
  if (std::ranges::find(kSystemFolders, name) != std::end(kSystemFolders)) {
    folder.left_out.push_back(std::move(name));
  } else if (entry.is_directory(unknown) || (unknown && is_folder(entry.path()))) {
    folder.folders.push_back(std::move(name));
  } else if (entry.is_regular_file(unknown) || (unknown && is_file(entry.path()))) {
    folder.files.push_back(std::move(name));
  } else {
    folder.broken.push_back(std::move(name));
  }
}

}  // namespace

std::string Folder::below(const std::string& name) const {
  return relative == "." ? name : relative + "/" + name;
}

bool is_image_name(const std::string& name) {
  return std::ranges::find(kImageExtensions, extension_of(name)) != std::end(kImageExtensions) ||
         is_new_format(name);
}

bool is_new_format(const std::string& name) {
  return std::ranges::find(kNewExtensions, extension_of(name)) != std::end(kNewExtensions);
}

std::optional<Folder> FolderLister::list(const std::string& relative) {
  const fs::path root = builder_.root();
  Folder folder{.path = relative == "." ? root : root / relative, .relative = relative};
  struct stat status {};
  if (::stat(folder.path.c_str(), &status) != 0) throw_system("read the folder", folder.path);
  if (!visited_.emplace(status.st_dev, status.st_ino).second) {
    builder_.warn(relative, "a link to a folder that is read already, not followed");
    return std::nullopt;
  }
  for (const fs::directory_entry& entry : list_folder(folder.path)) add_entry(entry, folder);
  for (const std::string& name : folder.left_out)
    builder_.warn(folder.below(name), "made by a system or NAS for itself, not read");
  std::ranges::sort(folder.files);
  std::ranges::sort(folder.folders);
  return folder;
}

Sidecars::Sidecars(const Folder& folder) {
  for (const std::string& name : folder.files) {
    if (is_image_name(name)) continue;
    // Of names that differ in case or form only, the plain one counts, or else the first.
    const std::string key = compose(stem_of(name) + extension_of(name));
    if (key == name) {
      names_.insert_or_assign(key, name);
    } else {
      names_.emplace(key, name);
    }
  }
}

bool Sidecars::used(const std::string& name) const { return used_.contains(name); }

std::optional<std::string> Sidecars::find(const std::string& stem,
                                          const std::string& extension) const {
  if (names_.empty()) return std::nullopt;
  const auto found = names_.find(compose(stem + extension));
  if (found == names_.end()) return std::nullopt;
  used_.insert(found->second);
  return found->second;
}

}  // namespace kessoku::data
