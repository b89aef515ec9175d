#include "base/descriptor.h"

#include <unistd.h>

#include <cerrno>

namespace kessoku {

namespace {

/// `put(done)` writes what follows the first `done` bytes, as write(2) does.
template <typename Put>
size_t repeat(size_t size, const Put& put) {
  size_t done = 0;
  while (done < size) {
    const ssize_t written = put(done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;
    done += static_cast<size_t>(written);
  }
  return done;
}

}  // namespace

size_t write_all(int descriptor, std::string_view bytes) {
  return repeat(bytes.size(), [&](size_t done) {
    return ::write(descriptor, bytes.data() + done, bytes.size() - done);
  });
}

size_t write_all_at(int descriptor, uint64_t at, std::span<const std::byte> bytes) {
  return repeat(bytes.size(), [&](size_t done) {
    return ::pwrite(descriptor, bytes.data() + done, bytes.size() - done,
                    static_cast<off_t>(at + done));
  });
}

bool flush_to_disk(int descriptor) {
  if (::fsync(descriptor) == 0) return true;
  return errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP;
}

}  // namespace kessoku
