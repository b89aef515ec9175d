#include "metrics/rank_pace.h"

#include <gtest/gtest.h>

namespace kessoku::metrics {
namespace {

TEST(RankPace, ComparesWithTheMedianOfAll) {
  RankPace pace;
  EXPECT_EQ(pace.against_others(0), 1) << "before there is a step";
  for (int i = 0; i < 50; ++i) pace.add({1.0, 1.1, 3.3, 1.1});
  EXPECT_NEAR(pace.against_others(0), 1 / 1.1, 1e-9);
  EXPECT_NEAR(pace.against_others(2), 3, 1e-9);
}

TEST(RankPace, OneRankIsAsFastAsItself) {
  RankPace pace;
  pace.add({2.0});
  EXPECT_EQ(pace.against_others(0), 1);
}

TEST(RankPace, ComparesWithTheRanksOwnPast) {
  RankPace pace;
  for (int i = 0; i < 1000; ++i) pace.add({1.0, 1.0});
  for (int i = 0; i < 40; ++i) pace.add({1.0, 2.0});
  EXPECT_NEAR(pace.against_past(0), 1, 1e-9);
  EXPECT_GT(pace.against_past(1), 1.7);
}

}  // namespace
}  // namespace kessoku::metrics
