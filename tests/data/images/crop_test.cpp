#include "data/images/crop.h"

#include <gmock/gmock.h>

#include "data/images/exif_orientation.h"

namespace kessoku::data {
namespace {

TEST(ChooseCrop, NumberZeroIsTheLargestBoxInTheCenter) {
  EXPECT_EQ(choose_crop(1920, 1080, {640, 384}, 3, 0), (Crop{60, 0, 1860, 1080}));
  EXPECT_EQ(choose_crop(1000, 1414, {448, 576}, 3, 0), (Crop{0, 64, 1000, 1350}));
  EXPECT_EQ(choose_crop(512, 512, {512, 512}, 3, 0), (Crop{0, 0, 512, 512}));
  EXPECT_EQ(choose_crop(1, 9000, {256, 1024}, 3, 0), (Crop{0, 4498, 1, 4502}));
}

// EveryDream2: at most 2 % of the short side off each side, the rest placed by a triangle.
TEST(ChooseCrop, OtherNumbersStayWithinEveryDream2sMargins) {
  double sum = 0, square = 0;
  constexpr int kCrops = 4000;
  for (int number = 1; number <= kCrops; ++number) {
    const Crop crop = choose_crop(2000, 1000, {512, 512}, 9, number);
    ASSERT_GE(crop.left, 0);
    ASSERT_LE(crop.right, 2000);
    ASSERT_LE(crop.top, 20);
    ASSERT_GE(crop.bottom, 980);
    ASSERT_NEAR(static_cast<double>(crop.width()), static_cast<double>(crop.height()), 1);
    const double center = (crop.left + crop.right) / 2.0;
    sum += center;
    square += (center - 1000) * (center - 1000);
  }
  EXPECT_NEAR(sum / kCrops, 1000, 15);
  // A triangle over about 1000 pixels has a standard deviation of 1000 / sqrt(24).
  EXPECT_NEAR(std::sqrt(square / kCrops), 204, 12);
}

TEST(ChooseCrop, NeverCutsImagesOfTheBucketsSizeOrLess) {
  for (int number = 0; number < 20; ++number) {
    EXPECT_EQ(choose_crop(512, 512, {512, 512}, 1, number), (Crop{0, 0, 512, 512}));
    EXPECT_EQ(choose_crop(100, 100, {512, 512}, 1, number), (Crop{0, 0, 100, 100}));
  }
}

TEST(Turn, MapsCropsThereAndBack) {
  const Crop crop{10, 20, 70, 35};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Turn turn = Turn::from_exif(orientation);
    EXPECT_EQ(turn.to_shown(turn.to_stored(crop, 100, 50), 100, 50), crop) << orientation;
  }
  EXPECT_EQ(Turn::from_exif(6).to_stored(crop, 100, 50), (Crop{20, 30, 35, 90}));
}

}  // namespace
}  // namespace kessoku::data
