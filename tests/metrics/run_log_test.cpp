#include "metrics/run_log.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

class RunLogFile : public ::testing::Test {
 protected:
  void append(uint64_t last_step, std::vector<uint64_t> steps) {
    RunLog log(path_, last_step);
    for (const uint64_t step : steps) {
      StepRecord record;
      record.step = step;
      log.append(record);
    }
  }
  void add_text(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  std::vector<uint64_t> steps() const {
    std::vector<uint64_t> found;
    for (const StepRecord& record : read_run_log(path_)) found.push_back(record.step);
    return found;
  }

  tests::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "log.jsonl";
};

TEST_F(RunLogFile, EachRecordIsOnDiskOnceAppended) {
  RunLog log(path_, 0);
  StepRecord record;
  record.step = 1;
  log.append(record);
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(RunLogFile, ResumeDropsWhatCameAfterTheCheckpoint) {
  append(0, {1, 2, 3, 4, 5});
  append(3, {4, 5, 6});
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(RunLogFile, ChangesStandWithTheFirstStepAfterThem) {
  append(0, {1, 2, 3});
  RunChange change{.key = "data.caption_rename", .before = "[]"};
  change.after = R"([["Bfan2", "Bofa2"]])";
  change.captions = 12;
  change.examples = 40;
  {
    RunLog log(path_, 3);
    StepRecord record;
    record.step = 4;
    record.changes = {change};
    log.append(record);
  }
  const std::vector<StepRecord> records = read_run_log(path_);
  ASSERT_EQ(records.size(), 4);
  EXPECT_TRUE(records[2].changes.empty());
  ASSERT_EQ(records[3].changes.size(), 1);
  EXPECT_EQ(records[3].changes[0].key, change.key);
  EXPECT_EQ(records[3].changes[0].after, change.after);
  EXPECT_EQ(concerned(records[3].changes[0]), "12 captions of 40 images");
  add_text("{\"step\": 5, \"changes\": [3]}\n{}\n");
  EXPECT_THROW(read_run_log(path_), DataError);
}

TEST_F(RunLogFile, ResumeDropsATornLastLine) {
  append(0, {1, 2});
  add_text(R"({"step":3,"draws":1,"lo)");
  EXPECT_THAT(steps(), ElementsAre(1, 2));
  append(2, {3});
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3));
}

TEST_F(RunLogFile, ALastLineThatLacksOnlyItsNewlineIsKept) {
  append(0, {1, 2});
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  append(2, {3});
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3));
}

TEST_F(RunLogFile, ANewRunOverAnOldLogBeginsAtItsStart) {
  append(0, {1, 2});
  append(0, {1});
  EXPECT_THAT(steps(), ElementsAre(1));
}

TEST_F(RunLogFile, ADamagedLineIsNamed) {
  append(0, {1});
  add_text("nonsense\n");
  append(1, {});  // as the last line it counts as torn
  EXPECT_THAT(steps(), ElementsAre(1));
  add_text("nonsense\n{\"step\":3,\"draws\":1}\n");
  try {
    steps();
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("log.jsonl:2:"));
  }
  EXPECT_THROW(RunLog(path_, 2), DataError);
}

TEST_F(RunLogFile, OnlyWhatIsAskedForIsRead) {
  add_text("nonsense, which nobody reads\n");
  append(kAll, {1, 2, 3, 4});
  const auto from = [](uint64_t step) {
    return [step](const StepRecord& record) { return record.step >= step; };
  };
  std::vector<uint64_t> found;
  for (const StepRecord& record : read_newest_records(path_, from(3))) found.push_back(record.step);
  EXPECT_THAT(found, ElementsAre(3, 4));
  EXPECT_EQ(last_record(path_)->step, 4);
  append(2, {3});
  EXPECT_EQ(last_record(path_)->step, 3);
  EXPECT_EQ(offset_of_newest_records(path_, from(9)), std::filesystem::file_size(path_));
  std::ifstream file(path_);
  file.seekg(static_cast<std::streamoff>(offset_of_newest_records(path_, from(2))));
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(step_record_from_json(line).step, 2);
}

TEST_F(RunLogFile, LinesLongerThanAPieceOfTheFileAreRead) {
  for (uint64_t step = 1; step <= 3; ++step) {
    StepRecord record;
    record.step = step;
    record.changes = {{.key = "data.caption_rename", .before = std::string(200'000, 'x')}};
    RunLog(path_, step - 1).append(record);
  }
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3));
}

TEST_F(RunLogFile, ALogThatIsNotThereIsAUsageError) {
  EXPECT_THROW(read_run_log(path_), UsageError);
}

TEST_F(RunLogFile, AnEmptyLogHasNoRecords) {
  add_text("");
  EXPECT_THAT(steps(), ElementsAre());
}

// A file size limit stands in for a full disk.
TEST_F(RunLogFile, RecordsWaitForRoomOnAFullDisk) {
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto on_signal = std::signal(SIGXFSZ, SIG_IGN);
  RunLog log(path_, 0);
  const rlimit none{10, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &none);
  StepRecord record;
  for (record.step = 1; record.step <= 2; ++record.step) log.append(record);
  EXPECT_EQ(std::filesystem::file_size(path_), 10u);
  ::setrlimit(RLIMIT_FSIZE, &old);
  log.append(record);
  EXPECT_THAT(steps(), ElementsAre(1, 2, 3));
  std::signal(SIGXFSZ, on_signal);
}

}  // namespace
}  // namespace kessoku::metrics
