#pragma once

namespace kessoku::runtime {

/// From now on an AllocationTracker also counts tensors of the meta device, which have a size but
/// no memory. Any number of calls.
void count_meta_tensors();

}  // namespace kessoku::runtime
