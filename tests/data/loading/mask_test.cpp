#include "data/loading/mask.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace kessoku::data {
namespace {

std::vector<float> mask_of(uint64_t draw, int64_t height, int64_t width, double whole = 0) {
  std::vector<float> mask(static_cast<size_t>(height * width), -1);
  fill_mask(7, draw, height, width, {whole}, mask);
  return mask;
}

double share_of(const std::vector<float>& mask) {
  return std::accumulate(mask.begin(), mask.end(), 0.0) / static_cast<double>(mask.size());
}

TEST(Mask, IsTheDrawsOwnAndOfZerosAndOnes) {
  const std::vector<float> mask = mask_of(3, 96, 64);
  EXPECT_EQ(mask, mask_of(3, 96, 64));
  EXPECT_NE(mask, mask_of(4, 96, 64));
  for (const float value : mask) EXPECT_TRUE(value == 0 || value == 1) << value;
}

TEST(Mask, CoversAPartOfTheImageThatVaries) {
  double sum = 0, most = 0;
  for (uint64_t draw = 0; draw < 300; ++draw) {
    const double share = share_of(mask_of(draw, 64, 96));
    ASSERT_GT(share, 0.005) << "draw " << draw;
    most = std::max(most, share);
    sum += share;
  }
  EXPECT_GT(sum / 300, 0.2);
  EXPECT_LT(sum / 300, 0.6);
  EXPECT_GT(most, 0.7);
}

TEST(Mask, CoversAllAsOftenAsAskedFor) {
  int whole = 0;
  for (uint64_t draw = 0; draw < 400; ++draw) whole += share_of(mask_of(draw, 16, 16, 0.25)) == 1;
  EXPECT_NEAR(whole, 100, 30);
  EXPECT_EQ(share_of(mask_of(1, 16, 16, 1)), 1);
}

TEST(Mask, FitsTheSmallestImages) {
  for (uint64_t draw = 0; draw < 100; ++draw) {
    for (const float value : mask_of(draw, 8, 8)) ASSERT_TRUE(value == 0 || value == 1);
  }
}

}  // namespace
}  // namespace kessoku::data
