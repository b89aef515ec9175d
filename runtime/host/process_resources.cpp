#include "runtime/host/process_resources.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

namespace kessoku::runtime {

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

void restart_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }  // proc(5)

}  // namespace kessoku::runtime
