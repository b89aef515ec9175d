// In place of nccl_communicator.cpp where NCCL's header is not installed.
#include "base/error.h"
#include "runtime/communication/nccl_communicator.h"

namespace kessoku::runtime {

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator>, at::Device,
                                                     double, Reduction) {
  throw UsageError(
      "this program was built without NCCL, which several GPUs need: run scripts/setup.sh on a "
      "machine with a GPU, which installs it, and builds anew");
}

}  // namespace kessoku::runtime
