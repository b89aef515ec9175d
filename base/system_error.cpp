#include "base/system_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

namespace kessoku {

void throw_system(const char* what, const std::filesystem::path& path) {
  throw SystemError(fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
}

void throw_cannot_open(const std::filesystem::path& path) {
  switch (errno) {
    case ENOENT:
    case ENOTDIR:
      throw UsageError(fmt::format("{}: no such file", path.string()));
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:  // a socket, or a pipe that nobody writes
      throw DataError(fmt::format("{}: cannot open: {}", path.string(), std::strerror(errno)));
    default:
      throw_system("open", path);
  }
}

bool is_machine_failure(const std::exception& error) {
  if (dynamic_cast<const SystemError*>(&error) != nullptr ||
      dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
      dynamic_cast<const std::system_error*>(&error) != nullptr) {
    return true;
  }
  return is_machine_failure(std::string_view(error.what()));
}

// LibTorch and the decoders of images have no types for it.
bool is_machine_failure(std::string_view reason) {
  for (const char* says : {"allocate memory", "out of memory", "nsufficient memory",
                           "unable to create thread", "creating thread"}) {
    if (reason.find(says) != reason.npos) return true;
  }
  return false;
}

}  // namespace kessoku
