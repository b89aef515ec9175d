#pragma once

#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// Of the mpirun that the test was started by; set up before and closed after all tests.
inline Communicator* communicator = nullptr;
/// Of the tensors that are exchanged: the CPU, or this rank's GPU.
inline at::Device device = at::kCPU;

}  // namespace kessoku::runtime
