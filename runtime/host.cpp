#include "runtime/host.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

namespace kessoku::runtime {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

int use_cores(int wanted, int ranks_here) {
  cpu_set_t set;
  const bool known = ::sched_getaffinity(0, sizeof set, &set) == 0;
  const bool by_mpirun = std::getenv("OMPI_COMM_WORLD_RANK") != nullptr;
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (known && !by_mpirun) cores = CPU_COUNT(&set);
  const int threads = wanted > 0 ? wanted : std::max(1, cores / ranks_here);
  if (known && by_mpirun && CPU_COUNT(&set) < threads) {
    std::memset(&set, 0xFF, sizeof set);
    ::sched_setaffinity(0, sizeof set, &set);  // as far as the system lets us
  }
  return threads;
}

uint64_t peak_memory() {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "VmHWM:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

void restart_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }  // proc(5)

}  // namespace kessoku::runtime
