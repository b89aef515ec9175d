// Run with the stand-ins in LD_LIBRARY_PATH.
#include "runtime/host/device.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace kessoku::runtime {
namespace {

TEST(Device, AsksOutrightForTheSameBits) {
  choose_device("cuda");
  const at::Context& context = at::globalContext();
  EXPECT_TRUE(context.deterministicAlgorithms());
  EXPECT_FALSE(context.deterministicAlgorithmsWarnOnly()) << "attention would add in any order";
  EXPECT_TRUE(context.deterministicCuDNN());
  EXPECT_FALSE(context.benchmarkCuDNN()) << "trials choose other kernels in every run";
  EXPECT_FALSE(context.allowTF32CuDNN());
  EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":4096:8");
}

TEST(Device, TakesFasterKernelsIfOtherBitsAreAllowed) {
  choose_device("cuda");
  allow_inexact_kernels();
  const at::Context& context = at::globalContext();
  EXPECT_FALSE(context.deterministicAlgorithms());
  EXPECT_FALSE(context.deterministicCuDNN());
  EXPECT_TRUE(context.benchmarkCuDNN());
}

}  // namespace
}  // namespace kessoku::runtime
