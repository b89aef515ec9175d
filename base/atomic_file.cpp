#include "base/atomic_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/system_error.h"

namespace kessoku {

namespace {

/// What a process of this number had left there would show behind what is shorter.
const std::filesystem::path& without_remains(const std::filesystem::path& path) {
  ::unlink(path.c_str());
  return path;
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path)
    : path_(in_a_folder(path)),
      beside_(path.string() + fmt::format(".tmp{}", ::getpid())),
      file_(without_remains(beside_)) {}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlink(beside_.c_str());
}

void AtomicFile::commit() {
  file_.finish();
  if (::rename(beside_.c_str(), path_.c_str()) != 0) throw_system("replace", path_);
  committed_ = true;
  fsync_path(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
}

}  // namespace kessoku
