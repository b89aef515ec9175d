#pragma once

#include <string>

namespace kessoku::launcher {

/// An argument that is text (not the name of a file) as UTF-8, with a warning if it is something
/// else.
std::string argument_text(const std::string& argument);

}  // namespace kessoku::launcher
