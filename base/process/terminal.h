#pragma once

#include <cstddef>

namespace kessoku {

/// Whether what is written to stderr appears on a terminal: directly, or through the mpirun that
/// started this process on this host.
bool stderr_is_terminal();

/// Columns of that terminal; 80 if there is none, or it does not say.
size_t terminal_width();

}  // namespace kessoku
