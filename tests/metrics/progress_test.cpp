#include "metrics/progress.h"

#include <gmock/gmock.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/process/stderr_line.h"

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

ProgressState train(uint64_t done, double seconds) {
  return {
      .what = "train",
      .unit = "steps",
      .total = 48'000,
      .done = done,
      .seconds = seconds,
      .figures = {
          {"loss", 0.123, "loss 0.123"}, {"lr", 1e-4, ""}, {"data_wait", 0.03, "data wait 3 %"}}};
}

TEST(ProgressLine, ShowsCountShareRateTimeLeftAndFigures) {
  EXPECT_EQ(progress_line(train(1'200, 300)),
            "train  1200/48000 steps  2.5 %  4.00 steps/s  3 h 15 min left  loss 0.123  "
            "data wait 3 %");
}

TEST(ProgressLine, ANarrowTerminalLeavesOutThePercentageFirstAndThenFiguresFromTheLast) {
  EXPECT_EQ(progress_line(train(1'200, 300), 81),
            "train  1200/48000 steps  4.00 steps/s  3 h 15 min left  loss 0.123  data wait 3 %");
  EXPECT_EQ(progress_line(train(1'200, 300), 80),
            "train  1200/48000 steps  4.00 steps/s  3 h 15 min left  loss 0.123");
  EXPECT_EQ(progress_line(train(1'200, 300), 30), "train  1200/48000 steps");
  EXPECT_EQ(progress_line(train(1'200, 300), 10), "train  120");
}

TEST(ProgressLine, AResumedRunsRateLeavesOutWhatWasDoneBefore) {
  EXPECT_THAT(
      progress_line(
          {.what = "t", .unit = "steps", .total = 1000, .start = 900, .done = 950, .seconds = 10}),
      AllOf(HasSubstr("95.0 %"), HasSubstr("5.00 steps/s"), HasSubstr("10 s left")));
}

TEST(ProgressLine, AtTheEndItTellsTheTimeTaken) {
  EXPECT_EQ(progress_line(
                {.what = "encode", .unit = "images", .total = 2717, .done = 2717, .seconds = 200}),
            "encode  2717/2717 images  100.0 %  13.6 images/s  in 3 min 20 s");
}

TEST(ProgressLine, AnUnknownTotalHasNoShareAndNoTimeLeft) {
  EXPECT_EQ(progress_line({.what = "scan", .unit = "files", .done = 10, .seconds = 1}),
            "scan  10 files  10.0 files/s  in 1 s");
}

TEST(ProgressLine, NothingDoneYetDividesByNothing) {
  EXPECT_EQ(progress_line({.what = "train", .unit = "steps", .total = 10}),
            "train  0/10 steps  0.0 %");
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
    for (uint64_t step = 1; step <= 3; ++step) progress.update(step, {{.text = "loss 0.5"}});
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, AllOf(StartsWith("train  3/3 steps  100.0 %"), HasSubstr("loss 0.5\n")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

/// Takes the format back at its end.
struct JsonLog {
  JsonLog() { set_log_format(LogFormat::kJson); }
  ~JsonLog() { set_log_format(LogFormat::kText); }
};

TEST(Progress, InJsonALineHasItsFiguresAsNumbers) {
  const JsonLog json;
  ::testing::internal::CaptureStderr();
  {
    Progress progress("train", "steps", 4, 1);
    progress.update(3, {{"loss", 0.5, "loss 0.5000"}, {"memory_bytes", 3e9, ""}});
  }
  const auto line = nlohmann::json::parse(::testing::internal::GetCapturedStderr());
  EXPECT_EQ(line["done"], 3);
  EXPECT_EQ(line["total"], 4);
  EXPECT_EQ(line["loss"], 0.5);
  EXPECT_EQ(line["memory_bytes"].dump(), "3000000000");
  EXPECT_THAT(line["message"], AllOf(StartsWith("train  3/4 steps"), HasSubstr("loss 0.5000")));
  EXPECT_NEAR(line["seconds_left"].get<double>() * line["per_second"].get<double>(), 1, 1e-9);
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
    progress.update(3, {{.text = "a long note that a narrow terminal has no room for"}});
  });
  EXPECT_THAT(text, AllOf(StartsWith("\rtrain  0/3 steps"), HasSubstr("\rtrain  3/3 steps")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, Not(HasSubstr("no room")));
}

TEST(Progress, OnATerminalOtherLinesAppearAboveTheLiveOne) {
  const std::string text = on_a_terminal(80, [] {
    const Progress progress("train", "steps", 3);
    write_line("a checkpoint is written");
  });
  EXPECT_EQ(text,
            "\rtrain  0/3 steps  0.0 %\x1b[K"
            "\r\x1b[Ka checkpoint is written\r\ntrain  0/3 steps  0.0 %\r\n");
}

}  // namespace
}  // namespace kessoku::metrics
