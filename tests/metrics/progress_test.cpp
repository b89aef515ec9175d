#include "metrics/progress.h"

#include <gmock/gmock.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <cstdio>

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(ProgressLine, ShowsCountShareRateTimeLeftAndNote) {
  EXPECT_EQ(progress_line("train", "steps", 48'000, 0, 1'200, 300, "loss 0.123"),
            "train  1200/48000 steps  2.5 %  4.00 steps/s  3 h 15 min left  loss 0.123");
}

TEST(ProgressLine, AResumedRunsRateLeavesOutWhatWasDoneBefore) {
  EXPECT_THAT(progress_line("train", "steps", 1000, 900, 950, 10, ""),
              AllOf(HasSubstr("95.0 %"), HasSubstr("5.00 steps/s"), HasSubstr("10 s left")));
}

TEST(ProgressLine, AtTheEndItTellsTheTimeTaken) {
  EXPECT_EQ(progress_line("encode", "images", 2717, 0, 2717, 200, ""),
            "encode  2717/2717 images  100.0 %  13.6 images/s  in 3 min 20 s");
}

TEST(ProgressLine, AnUnknownTotalHasNoShareAndNoTimeLeft) {
  EXPECT_THAT(progress_line("scan", "files", 0, 0, 10, 1, ""),
              AllOf(HasSubstr("10 files"), Not(HasSubstr("%"))));
}

TEST(ProgressLine, NothingDoneYetDividesByNothing) {
  EXPECT_EQ(progress_line("train", "steps", 10, 0, 0, 0, ""), "train  0/10 steps  0.0 %");
}

TEST(FormatDuration, TakesTheUnitThatAPersonWould) {
  EXPECT_EQ(format_duration(9.4), "9 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(3 * 3600 + 600), "3 h 10 min");
  EXPECT_EQ(format_duration(52 * 3600), "2 d 4 h");
  EXPECT_EQ(format_duration(-1), "unknown time");
}

TEST(Progress, ElsewhereThanOnATerminalOnePlainLineEndsTheWork) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("train", "steps", 3);
    for (uint64_t step = 1; step <= 3; ++step) progress.update(step, "loss 0.5");
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, AllOf(StartsWith("train  3/3 steps  100.0 %"), HasSubstr("loss 0.5\n")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(Progress, QuietShowsNothing) {
  ::testing::internal::CaptureStderr();
  Progress("train", "steps", 3, 0, true).update(3);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

/// Makes stderr a terminal of `columns` while `work` runs; returns what was written.
std::string on_a_terminal(uint16_t columns, const std::function<void()>& work) {
  int master = 0, terminal = 0;
  const winsize size{24, columns, 0, 0};
  EXPECT_EQ(::openpty(&master, &terminal, nullptr, nullptr, &size), 0);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(terminal, STDERR_FILENO);
  work();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  ::close(terminal);
  // What was written may take several reads; with its other side closed, the last one fails.
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t got; (got = ::read(master, part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<size_t>(got));
  }
  ::close(master);
  return text;
}

TEST(Progress, OnATerminalTheLineIsRedrawnInPlaceAndNeverWraps) {
  const std::string text = on_a_terminal(30, [] {
    Progress progress("train", "steps", 3);
    progress.update(3, "a long note that a narrow terminal has no room for");
  });
  EXPECT_THAT(text,
              AllOf(StartsWith("\rtrain  0/3 steps"), HasSubstr("\rtrain  3/3 steps  100.0 %")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, Not(HasSubstr("no room")));
}

}  // namespace
}  // namespace kessoku::metrics
