#include "base/system_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <new>
#include <system_error>

namespace kessoku {

namespace {

bool contains_any(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return text.find(part) != text.npos; });
}

}  // namespace

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

bool is_machine_failure(std::string_view reason) {
  return is_out_of_memory(reason) || is_out_of_threads(reason);
}

// LibTorch and the decoders of images have no types for these.
bool is_out_of_memory(std::string_view reason) {
  return contains_any(reason,
                      {"allocate memory", "out of memory", "nsufficient memory", "bad_alloc"});
}

bool is_out_of_threads(std::string_view reason) {
  return contains_any(reason, {"cannot start thread", "cannot start a thread",
                               "unable to create thread", "creating thread"});
}

}  // namespace kessoku
