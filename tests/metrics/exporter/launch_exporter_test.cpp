#include "metrics/exporter/launch_exporter.h"

#include <gmock/gmock.h>

#include "metrics/account_book.h"
#include "metrics/run_log.h"
#include "metrics/wall_clock.h"
#include "tests/metrics/exporter/scrape.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using tests::scrape;

double value_of(const std::string& page, const std::string& series) {
  const size_t at = page.find(series);
  EXPECT_NE(at, std::string::npos) << series;
  return at == std::string::npos ? -1 : std::stod(page.substr(at + series.size()));
}

double down_seconds(const LaunchExporter& exporter) {
  return value_of(scrape(exporter.port()),
                  "kessoku_run_seconds{rank=\"launch\",run=\"demo\",cause=\"down\"} ");
}

TEST(LaunchExporter, AnswersWhileNoRankLives) {
  const tests::TemporaryFolder folder;
  const LaunchExporter exporter({}, "demo", folder.path(), [] { return NewestCheckpoint{}; });
  EXPECT_THAT(scrape(exporter.port()),
              AllOf(HasSubstr("kessoku_launch_training{rank=\"launch\",run=\"demo\"} 0\n"),
                    HasSubstr("kessoku_launch_restarts_total{rank=\"launch\",run=\"demo\"} 0\n"),
                    HasSubstr("kessoku_launch_last_exit_code{rank=\"launch\",run=\"demo\"} -1\n")));
}

TEST(LaunchExporter, ReadsTheRunsFolder) {
  const tests::TemporaryFolder folder;
  LaunchExporter exporter({}, "demo", folder.path(), [] { return NewestCheckpoint{4, 1000}; });
  exporter.set_ranks(4, 2);
  exporter.started();
  const double now = seconds_since_1970();
  AccountEntry start{.time = now - 100};
  start.account.start(now - 100, false);
  append_to_account_book(folder.path(), start);
  RunLog log(folder.path() / "log.jsonl", 0);
  log.append({.step = 5, .time = now - 90});
  const std::string page = scrape(exporter.port());
  for (const char* line :
       {"kessoku_step{rank=\"launch\",run=\"demo\"} 5\n",
        "kessoku_checkpoint_step{rank=\"launch\",run=\"demo\"} 4\n",
        "kessoku_checkpoint_timestamp_seconds{rank=\"launch\",run=\"demo\"} 1000\n",
        "kessoku_run_starts{rank=\"launch\",run=\"demo\"} 1\n",
        "kessoku_launch_training{rank=\"launch\",run=\"demo\"} 1\n",
        "kessoku_launch_ranks{rank=\"launch\",run=\"demo\",of=\"asked\"} 4\n",
        "kessoku_launch_ranks{rank=\"launch\",run=\"demo\",of=\"used\"} 2\n"})
    EXPECT_THAT(page, HasSubstr(line));
  EXPECT_EQ(down_seconds(exporter), 0);
  exporter.ended(137);
  EXPECT_NEAR(down_seconds(exporter), 90, 5) << "since the last step";
  exporter.restarts(0);
  EXPECT_THAT(
      scrape(exporter.port()),
      AllOf(HasSubstr("kessoku_launch_restarts_total{rank=\"launch\",run=\"demo\"} 1\n"),
            HasSubstr("kessoku_launch_last_exit_code{rank=\"launch\",run=\"demo\"} 137\n")));
}

}  // namespace
}  // namespace kessoku::metrics
