#include "metrics/run_account.h"

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "metrics/account_book.h"
#include "metrics/run_follower.h"
#include "metrics/run_log.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

double of(const RunAccount& account, Cause cause) {
  return account.seconds[static_cast<size_t>(cause)];
}

double sum(const RunAccount& account) {
  return std::accumulate(account.seconds.begin(), account.seconds.end(), 0.0);
}

/// A step of two seconds, and half a second of a checkpoint before it.
StepRecord step(uint64_t number, double time) {
  StepRecord record;
  record.step = number;
  record.time = time;
  record.phase_seconds = {0.25, 0.5, 0.75, 0.375, 0.125, 0.5, 0, 0, 0};
  return record;
}

TEST(RunAccount, TheCausesAddUpToTheWallTime) {
  RunAccount account;
  account.start(1000, false);
  account.add(step(1, 1010));
  account.add(step(2, 1013));
  EXPECT_EQ(of(account, Cause::kStartup), 7.5);
  EXPECT_EQ(of(account, Cause::kData), 0.5);
  EXPECT_EQ(of(account, Cause::kProductive), 2.75);
  EXPECT_EQ(of(account, Cause::kExposedCommunication), 0.75);
  EXPECT_EQ(of(account, Cause::kCheckpoint), 1);
  EXPECT_EQ(of(account, Cause::kOther), 0.5) << "between the steps";
  EXPECT_EQ(sum(account), 13);
}

TEST(RunAccount, StepsThatAreTakenAgainAreNotProductive) {
  RunAccount account;
  account.start(1000, false);
  account.add(step(1, 1003));
  account.add(step(2, 1006));
  account.start(1050, false);  // killed; resumes at step 1
  account.add(step(2, 1060));
  account.add(step(3, 1063));
  EXPECT_EQ(of(account, Cause::kDown), 44);
  EXPECT_EQ(of(account, Cause::kRedone), 2.5);
  EXPECT_EQ(of(account, Cause::kProductive), 3 * 1.375);
  EXPECT_EQ(account.redone_steps, 1u);
  EXPECT_EQ(account.starts, 2u);
  EXPECT_EQ(account.furthest, 3u);
  EXPECT_EQ(sum(account), 63);
}

TEST(RunAccount, WhatFollowsACompleteRunDoesNotCount) {
  RunAccount account;
  account.start(1000, false);
  account.add(step(1, 1010));
  account.end(1011, Cause::kCheckpoint);
  account.start(5000, true);
  EXPECT_EQ(sum(account), 11);
  EXPECT_EQ(account.until - account.began, 11);
}

TEST(RunAccount, AClockThatWasSetBackDoesNotBreakTheSum) {
  RunAccount account;
  account.start(1000, false);
  account.add(step(1, 1010));
  account.add(step(2, 500));
  account.add(step(3, 1011));
  EXPECT_NEAR(sum(account), 11, 1e-9);
  EXPECT_NEAR(account.until - account.began, 11, 1e-9);
}

TEST(RunAccount, ComesBackFromJson) {
  RunAccount account;
  account.start(1000, false);
  account.add(step(4, 1010));
  const RunAccount back = run_account_from_json(to_json(account));
  EXPECT_EQ(to_json(back), to_json(account));
}

class AccountBook : public testing::Test {
 protected:
  /// A process starts at `time` from `first_step`, and takes steps of three seconds up to `last`.
  void train(double time, uint64_t first_step, uint64_t last) {
    const AccountEntry before = read_account(run);
    AccountEntry entry{.time = time, .account = before.account, .ranks = 2, .hosts = 1};
    entry.account.start(time, before.complete);
    RunLog log(run / "log.jsonl", first_step);
    append_to_account_book(run, entry);
    for (uint64_t i = first_step + 1; i <= last; ++i)
      log.append(step(i, time + 3 * static_cast<double>(i - first_step)));
  }

  tests::TemporaryFolder folder;
  std::filesystem::path run = folder.path();
};

TEST_F(AccountBook, KeepsWhatTheLogForgets) {
  train(1000, 0, 10);
  train(1100, 4, 8);
  const RunAccount account = read_account(run).account;
  EXPECT_EQ(read_run_log(run / "log.jsonl").size(), 8u);
  EXPECT_EQ(account.redone_steps, 4u);
  EXPECT_EQ(account.furthest, 10u);
  EXPECT_EQ(sum(account), 112);
}

TEST_F(AccountBook, SurvivesATornLine) {
  train(1000, 0, 2);
  std::ofstream(account_book_of(run), std::ios::app) << "{\"event\":\"star";
  EXPECT_EQ(sum(read_account(run).account), 6);
  train(1010, 2, 3);
  EXPECT_EQ(sum(read_account(run).account), 13);
}

TEST_F(AccountBook, AFollowerSeesTheSameThroughRestarts) {
  RunFollower follower(run);
  follower.poll();
  EXPECT_FALSE(follower.last());
  train(1000, 0, 10);
  follower.poll();
  EXPECT_EQ(follower.last()->step, 10u);
  train(1100, 4, 8);
  follower.poll();
  EXPECT_EQ(follower.last()->step, 8u);
  EXPECT_EQ(to_json(follower.account()), to_json(read_account(run).account));
  EXPECT_EQ(follower.entry().ranks, 2);
}

}  // namespace
}  // namespace kessoku::metrics
