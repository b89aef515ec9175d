#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "base/system_error.h"

namespace kessoku {

/// Calls `work(i)` for i in [0, count) on up to `threads` threads; returns when all are done.
/// Rethrows the first exception. Throws SystemError if there may not be so many threads.
template <typename Work>
void parallel_for(size_t count, int threads, const Work& work) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto run = [&] {
    try {
      for (size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> workers;
    try {
      for (size_t t = 1; t < std::min(count, static_cast<size_t>(threads)); ++t)
        workers.emplace_back(run);
    } catch (const std::system_error& error) {
      next = count;
      throw SystemError(fmt::format("cannot start thread {} of {}: {}", workers.size() + 2, threads,
                                    error.code().message()));
    }
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace kessoku
