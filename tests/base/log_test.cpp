#include "base/log.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/process/process.h"
#include "base/process/stderr_line.h"

namespace kessoku {
namespace {

TEST(Log, SaysWhatALineIs) {
  testing::internal::CaptureStderr();
  log_warning("{} images are not used", 3);
  log_info("{}/ is written", "store");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "warning: 3 images are not used\ninfo: store/ is written\n");
}

TEST(Log, WritesTextAsItIs) {
  testing::internal::CaptureStderr();
  write_warning("a folder {x} at 100 %");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: a folder {x} at 100 %\n");
}

/// Takes the format back at its end.
struct JsonLog {
  JsonLog() { set_log_format(LogFormat::kJson); }
  ~JsonLog() { set_log_format(LogFormat::kText); }
};

TEST(Log, InJsonEachLineIsAnObjectWhateverItsTextHolds) {
  const JsonLog json;
  testing::internal::CaptureStderr();
  write_warning("two\nlines, a \"quote\" and a byte that is not UTF-8: \xff");
  write_line("step", {{"step", 12}, {"loss", 0.25}});
  std::istringstream lines(testing::internal::GetCapturedStderr());
  std::string line;
  std::getline(lines, line);
  const auto warning = nlohmann::json::parse(line);
  EXPECT_EQ(warning["level"], "warning");
  EXPECT_EQ(warning["host"], host_name());
  EXPECT_EQ(warning["message"], "two\nlines, a \"quote\" and a byte that is not UTF-8: \uFFFD");
  EXPECT_THAT(warning["time"].get<std::string>(),
              testing::MatchesRegex("....-..-..T..:..:..\\....Z"));
  std::getline(lines, line);
  const auto step = nlohmann::json::parse(line);
  EXPECT_EQ(step["level"], "info");
  EXPECT_EQ(step["step"], 12);
  EXPECT_EQ(step["loss"], 0.25);
  EXPECT_FALSE(std::getline(lines, line));
}

}  // namespace
}  // namespace kessoku
