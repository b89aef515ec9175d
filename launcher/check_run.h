#pragma once

#include <string>
#include <vector>

#include "runtime/config/config.h"

namespace kessoku::launcher {

/// Throws what `kessoku train` would throw before its first step because model and store do not fit
/// the run file. Returns what it would warn of.
std::vector<std::string> check_run(runtime::RunConfig config);

}  // namespace kessoku::launcher
