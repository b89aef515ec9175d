#include "base/system_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace kessoku {

void throw_system(const char* what, const std::filesystem::path& path) {
  throw Error(ExitCode::kCannotWrite,
              fmt::format("{}: cannot {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace kessoku
