#pragma once

#include <cstdint>

namespace kessoku::metrics {

/// What became of a checkpoint.
struct CheckpointRecord {
  uint64_t step = 0;
  bool written = false;
  double seconds = 0;  ///< from its begin to its last byte
  uint64_t bytes = 0;  ///< of all ranks, if it was written; known to rank 0
};

}  // namespace kessoku::metrics
