#include "runtime/checkpoint/latest_link.h"

#include <fmt/format.h>

#include <system_error>

#include "base/file.h"

namespace kessoku::runtime {

namespace fs = std::filesystem;

std::string point_latest_at(const fs::path& checkpoints, const std::string& name) {
  const fs::path link = checkpoints / "latest", beside = checkpoints / "latest.tmp";
  std::error_code error;
  const fs::file_status status = fs::symlink_status(link, error);
  if (fs::exists(status) && !fs::is_symlink(status)) {
    return fmt::format(
        "{}: not a symbolic link (a copy turns it into a folder); not replaced. Remove it, and the "
        "next checkpoint creates the link; the newest checkpoint is {}",
        link.string(), name);
  }
  error.clear();
  fs::remove(beside, error);
  // A link is replaced by renaming another over it: readers see the old or the new one.
  if (!error) fs::create_directory_symlink(name, beside, error);
  if (!error) fs::rename(beside, link, error);
  if (error) {
    return fmt::format("{}: cannot create the link: {}; the newest checkpoint is {}", link.string(),
                       error.message(), name);
  }
  try {
    fsync_path(checkpoints);
  } catch (const std::exception& failure) {
    return failure.what();
  }
  return {};
}

}  // namespace kessoku::runtime
