#pragma once

#include <string>

namespace kessoku::launcher {

/// What to say where memory was not enough for a subcommand: `reason`, and what makes it need less.
std::string explain_out_of_memory(const std::string& command, const std::string& reason);

}  // namespace kessoku::launcher
