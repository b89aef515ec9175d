#pragma once

namespace kessoku::runtime {

/// Threads for this process: `wanted`, or this rank's share of the host's cores (those that its job
/// or container may use) if that is 0.
/// mpirun binds ranks to one core or socket by default, which is undone where it leaves fewer cores
/// than threads; without mpirun a binding (taskset) is what the user wants, and limits the share.
int use_cores(int wanted, int ranks_here);

/// Lets LibTorch compute with so many threads of this process, and take denormals for 0: moments of
/// words that no caption holds decay into them, and slow it down.
void compute_with(int threads);

/// Seconds since this process was started; to a hundredth.
double process_age();

/// The peak of `process_memory` is counted from now on.
void restart_peak_memory();

/// Whether this process, of `processes` alike on the host, may take so many bytes more, and then
/// what it had at its peak. As Linux estimates it: true where it does not tell.
bool fits_memory(uint64_t bytes, int processes);

}  // namespace kessoku::runtime
