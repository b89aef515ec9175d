#include "base/process/process.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string_view>

namespace kessoku {

std::optional<int> process_rank() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (rank == nullptr) return std::nullopt;
  return std::atoi(rank);
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

ProcessMemory process_memory() {
  ProcessMemory memory;
  std::ifstream lines("/proc/self/status");
  for (std::string line; std::getline(lines, line);) {  // "VmRSS:   123 kB"
    const auto bytes = [&](std::string_view name) {
      return std::stoull(line.substr(name.size())) * 1024;
    };
    if (line.starts_with("VmRSS:")) memory.resident = bytes("VmRSS:");
    if (line.starts_with("VmHWM:")) memory.peak = bytes("VmHWM:");
  }
  return memory;
}

}  // namespace kessoku
