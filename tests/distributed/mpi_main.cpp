#include <gtest/gtest.h>

#include "base/error.h"
#include "runtime/host/device.h"
#include "tests/distributed/mpi_test.h"

int main(int argc, char** argv) {
  using namespace kessoku::runtime;
  testing::InitGoogleTest(&argc, argv);
  std::unique_ptr<Communicator> owner = make_communicator();
  try {
    device = choose_device(std::getenv("KESSOKU_DEVICE") == nullptr ? "cpu" : "auto",
                           owner->local_rank(), owner->local_size());
  } catch (const kessoku::UsageError& error) {
    constexpr int kSkipped = 77;
    fmt::print("skipped: {}\n", error.what());
    return kSkipped;
  }
  owner = connect(std::move(owner), device, /*timeout=*/60, Reduction::kExact);
  communicator = owner.get();
  return RUN_ALL_TESTS();
}
