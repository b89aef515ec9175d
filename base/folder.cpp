#include "base/folder.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>

#include "base/system_error.h"

namespace kessoku {

namespace fs = std::filesystem;

namespace {

/// Nothing if there is nothing of that name.
std::optional<mode_t> mode_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return status.st_mode;
  if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG)
    return std::nullopt;
  throw_system("look at it", path);
}

}  // namespace

bool is_file(const fs::path& path) {
  const std::optional<mode_t> mode = mode_of(path);
  return mode && S_ISREG(*mode);
}

bool is_folder(const fs::path& path) {
  const std::optional<mode_t> mode = mode_of(path);
  return mode && S_ISDIR(*mode);
}

const fs::path& in_a_folder(const fs::path& path) {
  const fs::path folder = path.parent_path();
  if (!folder.empty() && !is_folder(folder)) {
    throw SystemError(
        fmt::format("{}: cannot create: there is no folder {}", path.string(), folder.string()));
  }
  return path;
}

std::vector<fs::directory_entry> list_folder(const fs::path& folder) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  fs::directory_iterator next(folder, error);
  for (; !error && next != fs::directory_iterator(); next.increment(error))
    entries.push_back(*next);
  if (error) {
    errno = error.value();
    throw_system("read the folder", folder);
  }
  return entries;
}

}  // namespace kessoku
