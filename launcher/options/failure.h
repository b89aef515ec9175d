#pragma once

#include <string>

#include "base/exit_code.h"

namespace kessoku::launcher {

/// Prints the one line that the program ends with when it fails, with the rank if it is one of
/// several. Returns what the process is to end with.
int fail(ExitCode code, const std::string& message);

}  // namespace kessoku::launcher
