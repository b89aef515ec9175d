#pragma once

#include "runtime/communicator.h"

namespace kessoku::runtime {

/// Of the mpirun that the test was started by; set up before and closed after all tests.
inline Communicator* communicator = nullptr;

}  // namespace kessoku::runtime
