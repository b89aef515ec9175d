#pragma once

#include <chrono>

namespace kessoku::metrics {

/// Seconds since 1970, as Prometheus counts them.
inline double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace kessoku::metrics
