#include <gtest/gtest.h>

#include "tests/distributed/mpi_test.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const auto owner = kessoku::runtime::make_communicator();
  kessoku::runtime::communicator = owner.get();
  return RUN_ALL_TESTS();
}
