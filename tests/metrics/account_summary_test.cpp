#include "metrics/terminal/account_summary.h"

#include <gmock/gmock.h>

namespace kessoku::metrics {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

/// An account of 100 s that begins at 1000, with what `spent` says and the rest of another cause.
RunAccount account(std::initializer_list<std::pair<Cause, double>> spent) {
  RunAccount result{.began = 1000, .until = 1100, .starts = 1};
  double rest = 100;
  for (const auto& [cause, seconds] : spent) {
    result.seconds[static_cast<size_t>(cause)] = seconds;
    rest -= seconds;
  }
  result.seconds[static_cast<size_t>(Cause::kOther)] += rest;
  return result;
}

const RunAccount kStart{.began = 1000, .until = 1000, .starts = 1};

TEST(AccountSummary, SharesComeInTheOrderOfTheirSizeAndSmallOnesAreOther) {
  const RunAccount end = account({{Cause::kProductive, 71},
                                  {Cause::kData, 9},
                                  {Cause::kExposedCommunication, 12},
                                  {Cause::kSample, 0.9},
                                  {Cause::kStartup, 5}});
  EXPECT_EQ(summarize(kStart, end, 412),
            "412 steps in 1 min 40 s: 71 % compute, 12 % communication, 9 % data, 5 % startup, "
            "3 % other; limited by compute, then by communication (docs/scaling.md shows what "
            "shortens it)");
}

TEST(AccountSummary, WhereWaitsTakeLittleComputeIsWhatLimits) {
  const RunAccount end = account({{Cause::kProductive, 95}, {Cause::kData, 3}});
  EXPECT_THAT(summarize(kStart, end, 1), EndsWith("; limited by compute"));
}

TEST(AccountSummary, AStarvedRunIsToldWhichKeysToChange) {
  const RunAccount end = account({{Cause::kProductive, 30}, {Cause::kData, 60}});
  EXPECT_THAT(summarize(kStart, end, 1),
              EndsWith("limited by data (raise data.threads or data.prefetch, or move the store "
                       "to a faster disk)"));
}

TEST(AccountSummary, WaitsForASlowRankNameIt) {
  const RunAccount end = account({{Cause::kProductive, 30}, {Cause::kExposedCommunication, 60}});
  EXPECT_THAT(summarize(kStart, end, 1, SlowRank{3, "node2", 1.62}),
              HasSubstr("limited by rank 3 on node2, whose own work takes 1.6 times as long"));
  EXPECT_THAT(summarize(kStart, end, 1, SlowRank{3, "node2", 1.05}),
              HasSubstr("limited by communication"));
}

TEST(AccountSummary, OnlyThisProcessCountsAndAResumedRunsWholeFollows) {
  RunAccount start = account({{Cause::kData, 100}});
  start.starts = 2;
  RunAccount end = start;
  end.until += 50;
  end.furthest = 120;
  end.redone_steps = 7;
  end.seconds[static_cast<size_t>(Cause::kProductive)] += 50;
  const std::string text = summarize(start, end, 40);
  EXPECT_THAT(text, HasSubstr("40 steps in 50 s: 100 % compute; limited by compute\n"));
  EXPECT_THAT(text, EndsWith("the run so far: 120 steps in 2 min 30 s, 2 starts, 7 steps repeated, "
                             "goodput 33 %"));
}

TEST(AccountSummary, ARunThatHadItsStepsAlreadyHasNoShares) {
  EXPECT_EQ(summarize(kStart, kStart, 0), "0 steps in 0 s");
}

}  // namespace
}  // namespace kessoku::metrics
