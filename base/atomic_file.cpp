#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/system_error.h"

namespace kessoku {

AtomicFile::AtomicFile(const std::filesystem::path& path)
    : path_(path),
      beside_(path.string() + fmt::format(".tmp{}", ::getpid())),
      descriptor_(::open(beside_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw_system("create", beside_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(beside_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_system("write", beside_);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) throw_system("flush to disk", beside_);
  if (::rename(beside_.c_str(), path_.c_str()) != 0) throw_system("replace", path_);
  ::close(std::exchange(descriptor_, -1));
  fsync_path(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
}

}  // namespace kessoku
