#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kessoku {

/// Rank of this process among those that mpirun started; nothing if it was started alone.
std::optional<int> process_rank();

/// This host's name, as others know it.
std::string host_name();

/// Memory of this process in bytes: now, and at its most since it began or `restart_peak_memory`.
struct ProcessMemory {
  uint64_t resident = 0, peak = 0;
};
ProcessMemory process_memory();

}  // namespace kessoku
