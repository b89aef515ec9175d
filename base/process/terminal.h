#pragma once

#include <cstddef>

namespace kessoku {

/// Whether what is written to stderr appears on a terminal: directly, or through the mpirun that
/// started this process on this host.
bool stderr_is_terminal();

/// Columns of that terminal; 80 if there is none, or it does not say.
size_t terminal_width();

/// Lines of the terminal that stdout is; SIZE_MAX if it is none, or does not say.
size_t stdout_height();

}  // namespace kessoku
