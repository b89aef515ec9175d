#include "runtime/host/process_resources.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/process/process.h"

namespace kessoku::runtime {

namespace {

/// Memory of this host that programs may still take, in bytes; 0 where Linux does not tell.
uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    uint64_t kilobytes = 0;
    if (word == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

int use_cores(int wanted, int ranks_here) {
  const int fallback = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t bound, allowed;
  if (::sched_getaffinity(0, sizeof bound, &bound) != 0)
    return wanted > 0 ? wanted : std::max(1, fallback / ranks_here);
  allowed = bound;
  if (std::getenv("OMPI_COMM_WORLD_RANK") != nullptr) {
    // Asked for all cores, the kernel gives those of the job or container (its cpuset).
    std::memset(&allowed, 0xFF, sizeof allowed);
    ::sched_setaffinity(0, sizeof allowed, &allowed);
    ::sched_getaffinity(0, sizeof allowed, &allowed);
  }
  const int threads = wanted > 0 ? wanted : std::max(1, CPU_COUNT(&allowed) / ranks_here);
  if (CPU_COUNT(&bound) >= threads) ::sched_setaffinity(0, sizeof bound, &bound);
  return threads;
}

void compute_with(int threads) {
  at::set_num_threads(threads);
  at::globalContext().setFlushDenormal(true);
}

double process_age() {
  // proc(5): the 22nd field is the start in clock ticks since boot; the 2nd may hold spaces.
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string word;
  for (int field = 3; field <= 22 && fields >> word; ++field) continue;
  timespec now{};
  if (!fields || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 -
         std::stod(word) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

bool fits_memory(uint64_t bytes, int processes) {
  const uint64_t available = available_memory();
  const ProcessMemory own = process_memory();
  const uint64_t again = own.peak > own.resident ? own.peak - own.resident : 0;
  return available == 0 || bytes * 5 / 4 + again < available / static_cast<uint64_t>(processes);
}

void restart_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }  // proc(5)

}  // namespace kessoku::runtime
