#include "data/images/bucket.h"

#include <gmock/gmock.h>

#include <set>

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
  for (int64_t resolution = 256; resolution <= 4096; resolution += 64) {
    const auto table = bucket_table(resolution);
    EXPECT_EQ(table[0], (Bucket{resolution, resolution}));
    EXPECT_LT(table.size(), 70u);
    for (const Bucket& bucket : table) {
      // EveryDream2's own tables of 256 and 448 exceed it by one bucket.
      if (resolution != 256 && resolution != 448) {
        EXPECT_LE(bucket.width * bucket.height, resolution * resolution);
      }
      EXPECT_EQ(bucket.width % 64 + bucket.height % 64, 0);
      EXPECT_EQ(std::ranges::count(table, bucket), 1);
      EXPECT_EQ(std::ranges::count(table, Bucket{bucket.height, bucket.width}), 1);
    }
  }
}

TEST(BucketTable, OfEveryDream1HasFourMoreAt512) {
  const auto table = everydream1_buckets(512);
  EXPECT_EQ(table.size(), 15u);
  for (const Bucket& bucket : bucket_table(512)) EXPECT_EQ(std::ranges::count(table, bucket), 1);
  for (const Bucket& bucket : {Bucket{832, 256}, {256, 832}, {960, 256}, {256, 960}})
    EXPECT_EQ(std::ranges::count(table, bucket), 1);
  EXPECT_EQ(to_string(table[nearest_bucket(table, 1920, 1080)]), "640x384");
  EXPECT_EQ(to_string(table[nearest_bucket(table, 3250, 1000)]), "832x256");
}

TEST(BucketTable, OfKohyaHas17At512) {
  std::vector<std::string> names;
  for (const Bucket& bucket : kohya_buckets(512)) names.push_back(to_string(bucket));
  EXPECT_THAT(
      names, testing::ElementsAre("256x832", "256x896", "256x960", "256x1024", "320x704", "320x768",
                                  "384x640", "448x576", "512x512", "576x448", "640x384", "704x320",
                                  "768x320", "832x256", "896x256", "960x256", "1024x256"));
}

// make_bucket_resolutions of kohya's scripts, written anew.
TEST(BucketTable, OfKohyaFollowsItsRuleAtAnyResolution) {
  for (int64_t resolution = 256; resolution <= 1024; resolution += 64) {
    std::set<std::pair<int64_t, int64_t>> expected{{resolution, resolution}};
    for (int64_t width = 256; width <= 1024; width += 64) {
      const int64_t height = std::min<int64_t>(1024, resolution * resolution / width / 64 * 64);
      if (height < 256) continue;
      expected.insert({width, height});
      expected.insert({height, width});
    }
    std::set<std::pair<int64_t, int64_t>> got;
    for (const Bucket& bucket : kohya_buckets(resolution))
      got.insert({bucket.width, bucket.height});
    EXPECT_EQ(got, expected) << resolution;
  }
  EXPECT_THROW(kohya_buckets(64), UsageError);
  EXPECT_THROW(kohya_buckets(500), UsageError);
}

TEST(ParseBuckets, TakesNamesAndLists) {
  EXPECT_EQ(parse_buckets("everydream", 512), bucket_table(512));
  EXPECT_EQ(parse_buckets("kohya", 512), kohya_buckets(512));
  EXPECT_EQ(parse_buckets("everydream1", 512), everydream1_buckets(512));
  EXPECT_EQ(parse_buckets("512x512, 640x384", 512), (std::vector<Bucket>{{512, 512}, {640, 384}}));
  for (const char* text : {"", "512", "512x", "x512", "512x512,", "512x512,512x512", "510x512",
                           "512x512 640x384", "0x512", "512x9999", "-64x64", "everydrem"}) {
    EXPECT_THROW(parse_buckets(text, 512), UsageError) << text;
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

TEST(NearestBucket, PrefersTheExactSize) {
  const std::vector<Bucket> table{{512, 512}, {768, 768}};
  EXPECT_EQ(nearest_bucket(table, 768, 768), 1u);
  EXPECT_EQ(nearest_bucket(table, 700, 700), 0u);
}

}  // namespace
}  // namespace kessoku::data
