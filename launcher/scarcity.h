#pragma once

#include <string>

namespace kessoku::launcher {

/// What to say where memory or threads were not enough for a subcommand: `reason`, as LibTorch, the
/// standard library or a decoder of images tells it, and what makes the command need less. Any
/// other reason comes back as it is.
std::string explain_scarcity(const std::string& command, const std::string& reason);

}  // namespace kessoku::launcher
