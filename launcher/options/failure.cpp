#include "launcher/options/failure.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

namespace kessoku::launcher {

int fail(ExitCode code, const std::string& message) {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  fmt::print(stderr, "kessoku{}: {}\n", rank ? fmt::format(" (rank {})", rank) : "", message);
  return static_cast<int>(code);
}

}  // namespace kessoku::launcher
