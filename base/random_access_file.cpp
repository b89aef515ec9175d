#include "base/random_access_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/system_error.h"

namespace kessoku {

RandomAccessFile::RandomAccessFile(const std::filesystem::path& path, Mode mode) : path_(path) {
  descriptor_ = ::open(path.c_str(), (mode == Mode::kRead ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (descriptor_ < 0 && errno == ENOENT)
    throw DataError(fmt::format("{}: cannot be opened: no such file", path.string()));
  if (descriptor_ < 0) throw_cannot_open(path);
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const int reason = errno;
    ::close(descriptor_);
    errno = reason;
    if (!known) throw_system("look at it", path);
    throw DataError(fmt::format("{}: cannot be opened: not a regular file", path.string()));
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

RandomAccessFile::~RandomAccessFile() { ::close(descriptor_); }

void RandomAccessFile::read(uint64_t at, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_system(fmt::format("read at byte {}", at).c_str(), path_);
    if (got == 0) {
      throw DataError(fmt::format("{}: cannot be read at byte {}: the file has become shorter",
                                  path_.string(), at));
    }
    out = out.subspan(static_cast<size_t>(got));
    at += static_cast<uint64_t>(got);
  }
}

void RandomAccessFile::write(uint64_t at, std::span<const std::byte> bytes) const {
  if (write_all_at(descriptor_, at, bytes) < bytes.size()) throw_system("write", path_);
}

void RandomAccessFile::reserve(uint64_t bytes) const {
  if (bytes == 0 || ::fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes)) == 0) return;
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) {
    throw_system(fmt::format("take {} bytes of disk space", bytes).c_str(), path_);
  }
}

void RandomAccessFile::begin_flush() const {
  ::sync_file_range(descriptor_, 0, 0, SYNC_FILE_RANGE_WRITE);
}

void RandomAccessFile::flush() const {
  if (!flush_to_disk(descriptor_)) throw_system("flush to disk", path_);
}

}  // namespace kessoku
