#include "runtime/verification/block_digests.h"

#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace kessoku::runtime {
namespace {

void flip(const at::Tensor& values, int64_t byte, int bit) {
  static_cast<uint8_t*>(values.mutable_data_ptr())[byte] ^= static_cast<uint8_t>(1u << bit);
}

TEST(BlockDigests, ChangeInTheBlockOfAFlippedBitAlone) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor values = at::randn({5000}).to(dtype);
    const at::Tensor before = block_digests(values);
    ASSERT_EQ(before.numel(), 5);
    for (const int64_t element : {0, 1023, 1024, 4999}) {
      const at::Tensor flipped = values.clone();
      flip(flipped, element * values.element_size(), 3);
      const at::Tensor after = block_digests(flipped);
      for (int64_t block = 0; block < 5; ++block) {
        EXPECT_EQ(after[block].item<int64_t>() != before[block].item<int64_t>(),
                  block == element / kDigestBlock)
            << element << " " << block;
      }
      EXPECT_NE(digest_of(flipped), digest_of(values));
    }
  }
}

TEST(BlockDigests, TellTheSignOfZeroAndTheOrderOfBlocks) {
  const at::Tensor zeros = at::zeros({2048});
  EXPECT_NE(digest_of(zeros), digest_of(-zeros));
  const at::Tensor values = at::randn({2048});
  EXPECT_NE(digest_of(values), digest_of(values.roll(1024)));
}

TEST(BlockDigests, AreOfAnyShape) {
  const at::Tensor values = at::randn({7, 3, 11});
  EXPECT_EQ(digest_of(values), digest_of(values.flatten()));
  EXPECT_EQ(block_digests(at::zeros({0})).numel(), 0);
}

}  // namespace
}  // namespace kessoku::runtime
