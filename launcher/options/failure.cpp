#include "launcher/options/failure.h"

#include "base/process/stderr_line.h"

namespace kessoku::launcher {

int fail(ExitCode code, const std::string& message) {
  write_error(message);
  return static_cast<int>(code);
}

}  // namespace kessoku::launcher
