#include "base/flush.h"

#include <unistd.h>

#include <cerrno>

namespace kessoku {

bool flush_to_disk(int descriptor) {
  if (::fsync(descriptor) == 0) return true;
  return errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP;
}

}  // namespace kessoku
