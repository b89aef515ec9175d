#include "data/bucket.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace kessoku::data {
namespace {

std::string pick(int64_t resolution, int64_t width, int64_t height) {
  const auto table = bucket_table(resolution);
  return to_string(table[nearest_bucket(table, width, height)]);
}

TEST(BucketTable, Of512IsEveryDream2s) {
  const std::vector<Bucket> expected{{512, 512}, {576, 448},  {448, 576}, {640, 384},
                                     {384, 640}, {768, 320},  {320, 768}, {896, 256},
                                     {256, 896}, {1024, 256}, {256, 1024}};
  EXPECT_EQ(bucket_table(512), expected);
}

TEST(BucketTable, GivesTheGoldenPicksOfEveryDream2) {
  EXPECT_EQ(pick(512, 1920, 1080), "640x384");
  EXPECT_EQ(pick(512, 800, 600), "576x448");
  EXPECT_EQ(pick(512, 1000, 1414), "448x576");
  EXPECT_EQ(pick(512, 2560, 1080), "768x320");
  EXPECT_EQ(pick(512, 100, 101), "512x512");
  EXPECT_EQ(pick(512, 9000, 100), "1024x256");
  EXPECT_EQ(pick(512, 1, 9000), "256x1024");
}

TEST(BucketTable, NeverExceedsTheAreaAndKeepsSidesDivisible) {
  for (int64_t resolution = 256; resolution <= 2048; resolution += 64) {
    const auto table = bucket_table(resolution);
    EXPECT_EQ(table[0], (Bucket{resolution, resolution}));
    for (const Bucket& bucket : table) {
      EXPECT_LE(bucket.width * bucket.height, resolution * resolution);
      EXPECT_EQ(bucket.width % 64 + bucket.height % 64, 0);
      EXPECT_EQ(std::ranges::count(table, bucket), 1);
      EXPECT_EQ(std::ranges::count(table, Bucket{bucket.height, bucket.width}), 1);
    }
  }
}

TEST(BucketTable, OfSmallModelsIsFinelyStepped) {
  EXPECT_EQ(pick(64, 228, 128), "80x48");
  EXPECT_EQ(pick(64, 128, 213), "48x80");
  EXPECT_EQ(pick(64, 128, 128), "64x64");
  for (const Bucket& bucket : bucket_table(64)) EXPECT_LE(bucket.width * bucket.height, 64 * 64);
}

TEST(BucketTable, RefusesResolutionsWithoutATable) {
  for (const int64_t resolution : {-64, 0, 16, 100, 513, 8192}) {
    EXPECT_THROW(bucket_table(resolution), UsageError) << resolution;
  }
}

TEST(NearestBucket, GivesTiesToTheFirst) {
  const std::vector<Bucket> table{{1, 1}, {3, 1}};
  EXPECT_EQ(nearest_bucket(table, 2, 1), 0u);
}

}  // namespace
}  // namespace kessoku::data
