#pragma once

#include "runtime/communication/communicator.h"

namespace kessoku::runtime {

/// Collectives on the GPUs' tensors by NCCL, on a stream of their own; what lies in host memory
/// goes over `host`, as does NCCL's own beginning. Ends with an error if the ranks' GPUs have not
/// found each other after `timeout` seconds (0 = waits for ever). `reduction` kFast: where every
/// rank has one block in f32, NCCL sums as it likes. Throws UsageError if the program was built
/// without NCCL. Collective.
std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> host,
                                                     at::Device device, double timeout,
                                                     Reduction reduction);

}  // namespace kessoku::runtime
