#include "runtime/host/process_resources.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <cstring>
#include <thread>

namespace kessoku::runtime {
namespace {

int cores_of_thread() {
  cpu_set_t set;
  ::sched_getaffinity(0, sizeof set, &set);
  return CPU_COUNT(&set);
}

/// Cores that the system lets a process have, however narrowly this one was bound.
int all_cores() {
  int cores = 0;
  std::thread([&] {
    cpu_set_t set;
    std::memset(&set, 0xFF, sizeof set);
    ::sched_setaffinity(0, sizeof set, &set);
    cores = cores_of_thread();
  }).join();
  return cores;
}

/// `use_cores` on a thread that is bound to one core; then how many it is bound to.
std::pair<int, int> use_cores_of_one(int wanted, int ranks, bool by_mpirun) {
  by_mpirun ? ::setenv("OMPI_COMM_WORLD_RANK", "0", 1) : ::unsetenv("OMPI_COMM_WORLD_RANK");
  std::pair<int, int> seen;
  std::thread([&] {
    cpu_set_t set;
    ::sched_getaffinity(0, sizeof set, &set);
    int core = 0;
    while (!CPU_ISSET(core, &set)) ++core;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    ::sched_setaffinity(0, sizeof set, &set);
    seen.first = use_cores(wanted, ranks);
    seen.second = cores_of_thread();
  }).join();
  return seen;
}

TEST(Host, ABindingByTheUserLimitsThreads) {
  EXPECT_EQ(use_cores_of_one(0, 1, false), std::make_pair(1, 1));
  EXPECT_EQ(use_cores_of_one(7, 1, false), std::make_pair(7, 1));
}

TEST(Host, ABindingByMpirunIsUndoneWhereItIsTooNarrow) {
  const int all = all_cores();
  EXPECT_EQ(use_cores_of_one(0, 1, true), std::make_pair(all, all));
  EXPECT_EQ(use_cores_of_one(all + 1, 1, true), std::make_pair(all + 1, all));
  EXPECT_EQ(use_cores_of_one(1, 1, true), std::make_pair(1, 1));
  EXPECT_EQ(use_cores_of_one(0, 2 * all, true), std::make_pair(1, 1));
}

}  // namespace
}  // namespace kessoku::runtime
