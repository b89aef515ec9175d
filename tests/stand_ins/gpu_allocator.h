#pragma once

#include <c10/core/Device.h>

#include <cstddef>

namespace kessoku::stand_ins {

/// Counts bytes of the tensors of a GPU, which has KESSOKU_STAND_IN_MEMORY of them (80 GiB without
/// it). Throws c10::OutOfMemoryError.
void take_memory(c10::Device device, size_t bytes);
void give_back_memory(c10::Device device, size_t bytes);

}  // namespace kessoku::stand_ins
