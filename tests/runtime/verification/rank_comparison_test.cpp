#include "runtime/verification/rank_comparison.h"

#include <gmock/gmock.h>

namespace kessoku::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<int> odd(const std::vector<int64_t>& digests) { return odd_ranks(digests); }

TEST(RankComparison, NamesTheRanksThatDifferFromMostOthers) {
  EXPECT_THAT(odd({5}), IsEmpty());
  EXPECT_THAT(odd({5, 5, 5}), IsEmpty());
  EXPECT_THAT(odd({5, 5, 7}), ElementsAre(2));
  EXPECT_THAT(odd({7, 5, 5, 8, 5}), ElementsAre(0, 3));
}

TEST(RankComparison, NamesAllRanksWhereNoneIsKnownToBeRight) {
  EXPECT_THAT(odd({5, 7}), ElementsAre(0, 1));
  EXPECT_THAT(odd({5, 5, 7, 7}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(odd({5, 6, 7}), ElementsAre(0, 1, 2));
}

TEST(RankComparison, SuspectsTheOneRankThatExplainsAllFailedChecks) {
  EXPECT_THAT(suspects({{1, 0}, {2, 1}}), ElementsAre(1));
  EXPECT_THAT(suspects({{1, 0}}), ElementsAre(0, 1)) << "either may be wrong";
  EXPECT_THAT(suspects({{0, 0}}), ElementsAre(0)) << "its own micro-batch, twice";
  EXPECT_THAT(suspects({{1, 0}, {0, 1}}), ElementsAre(0, 1));
  EXPECT_THAT(suspects({{1, 0}, {3, 2}}), ElementsAre(0, 1, 2, 3)) << "two are wrong";
}

TEST(RankComparison, NamesTheTensorsOfABlock) {
  const std::vector<NamedSpan> spans{{"a", 0, 100}, {"b", 112, 3000}, {"c", 3008, 5000}};
  EXPECT_EQ(names_in(spans, {0}), "a, b");
  EXPECT_EQ(names_in(spans, {1}), "b");
  EXPECT_EQ(names_in(spans, {2, 4}), "b, c");
  EXPECT_EQ(names_in(spans, {9}), "padding");
  EXPECT_EQ(names_in({{"a", 0, 1}, {"b", 1, 2}, {"c", 2, 3}, {"d", 3, 4}, {"e", 4, 5}}, {0}),
            "a, b, c and 2 more");
}

}  // namespace
}  // namespace kessoku::runtime
