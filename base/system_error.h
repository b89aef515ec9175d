#pragma once

#include <filesystem>

namespace kessoku {

/// Throws Error (kCannotWrite) "PATH: cannot WHAT: the system's reason", which it takes from errno.
[[noreturn]] void throw_system(const char* what, const std::filesystem::path& path);

}  // namespace kessoku
