#include "runtime/supervision/restart_policy.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "runtime/supervision/host_list.h"
#include "tests/temporary_folder.h"

namespace kessoku::runtime {
namespace {

TEST(RestartPolicy, GivesUpAfterARestartThatGainedNothing) {
  RestartPolicy policy(1, 1, 60, {});
  EXPECT_EQ(policy.after_failure({0, 0}), 1);  // the first failure is always followed by a restart
  EXPECT_EQ(policy.after_failure({0, 0}), std::nullopt);
}

TEST(RestartPolicy, GoesOnAsLongAsStepsOrCheckpointsAreGained) {
  RestartPolicy policy(1, 1, 60, {10, 8});
  EXPECT_EQ(policy.after_failure({10, 8}), 1);
  EXPECT_EQ(policy.after_failure({11, 8}), 1);
  EXPECT_EQ(policy.after_failure({9, 9}), 1);
  EXPECT_EQ(policy.after_failure({11, 9}), std::nullopt);  // no further than ever before
}

TEST(RestartPolicy, WaitsLongerTheMoreItWasInVain) {
  RestartPolicy policy(6, 2, 9, {});
  for (const double wait : {2.0, 4.0, 8.0, 9.0, 9.0, 9.0})
    EXPECT_EQ(policy.after_failure({}), wait);
  EXPECT_EQ(policy.after_failure({}), std::nullopt);
}

TEST(RestartPolicy, RestartsAtOnceWhatGainsSomething) {
  RestartPolicy policy(3, 0, 60, {});
  for (const uint64_t step : {10, 20}) EXPECT_EQ(policy.after_failure({step, 8}), 0);
  for (const double wait : {1.0, 2.0}) EXPECT_EQ(policy.after_failure({20, 8}), wait);
  EXPECT_EQ(policy.after_failure({21, 8}), 0);
}

TEST(RestartPolicy, DoesNotRepeatWhatTheUserMustSettle) {
  for (const int code : {0, 64, 65, 70, 74, 75}) EXPECT_FALSE(is_worth_restarting(code)) << code;
  for (const int code : {1, 76, 77, 134, 137, 139}) EXPECT_TRUE(is_worth_restarting(code)) << code;
}

TEST(RunProgress, IsKnownWhereTheNewestCheckpointIsDamaged) {
  const tests::TemporaryFolder folder;
  const std::filesystem::path& run = folder.path();
  EXPECT_EQ(progress_of(run).checkpoint, 0);
  for (const char* name : {"step-00000004", "step-00000012", "step-00000016.tmp", "step-other"})
    std::filesystem::create_directories(run / "checkpoints" / name / "state");
  std::ofstream(run / "checkpoints/step-00000012/state/run.json") << "{\"form";
  EXPECT_EQ(progress_of(run).checkpoint, 12);
}

TEST(Hosts, AreReadFromListsAndHostfiles) {
  EXPECT_EQ(parse_hosts("a:4,b.example,c:1"),
            (std::vector<Host>{{"a", 4}, {"b.example", 1}, {"c", 1}}));
  EXPECT_EQ(to_string(parse_hosts("a:4,b")), "a:4,b:1");
  EXPECT_EQ(slots_of(parse_hosts("a:4,b")), 5);
  const std::string file = testing::TempDir() + "hostfile";
  std::ofstream(file) << "# our machines\na slots=4 max_slots=8\n\nb\n";
  EXPECT_EQ(read_hostfile(file), (std::vector<Host>{{"a", 4}, {"b", 1}}));
  std::ofstream(file) << "\xEF\xBB\xBF"
                         "a slots=2\r\nb\r\n";  // as Windows' editors save it
  EXPECT_EQ(read_hostfile(file), (std::vector<Host>{{"a", 2}, {"b", 1}}));
  std::ofstream(file) << "a slots=many\n";
  EXPECT_THROW(read_hostfile(file), UsageError);
  for (const char* list : {"a:", "a:x", "a:0", ":2", "-oProxyCommand=x", "a b"})
    EXPECT_THROW(parse_hosts(list), UsageError) << list;
}

TEST(Hosts, RanksDivideTheGlobalBatch) {
  EXPECT_EQ(ranks_that_divide(12, 6), 6);
  EXPECT_EQ(ranks_that_divide(12, 5), 4);
  EXPECT_EQ(ranks_that_divide(7, 6), 1);
}

}  // namespace
}  // namespace kessoku::runtime
