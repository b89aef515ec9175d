#include "metrics/exporter/rank_exporter.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <fstream>
#include <limits>

#include "tests/metrics/exporter/scrape.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using tests::scrape;

StepRecord record(uint64_t step) {
  StepRecord record;
  record.step = step;
  record.draws = 4 * step;
  record.loss = 0.25;
  record.grad_norm = 1.5;
  record.lr = 0.001;
  record.samples_per_second = 20;
  record.seconds = 0.2;
  record.time = 1e9 + static_cast<double>(step);
  record.phase_seconds[static_cast<size_t>(Phase::kForward)] = 0.125;
  record.category_draws = {{"fanart", 1}, {"screenshots", 3}};
  record.rank_seconds = {0.1, 0.25};
  return record;
}

RunPlan plan(uint64_t first_step = 0) {
  return {.first_step = first_step,
          .total_steps = 48'000,
          .shares = {{"fanart", 0.25}, {"screenshots", 0.7}, {"rare", 0.05}},
          .text_encoder_lr = 0.5,
          .checkpoint_steps = 100,
          .checkpoint_seconds = 1800};
}

RankLabels rank(int number) { return {.run = "demo", .rank = number, .ranks = 2}; }

TEST(RankExporter, AScrapeShowsWhatWasObserved) {
  RankExporter exporter({}, rank(0));
  exporter.begin(plan());
  exporter.observe(record(1));
  exporter.observe(record(2));
  const std::string page = scrape(exporter.port());
  for (const char* line :
       {"kessoku_steps_total{rank=\"0\",run=\"demo\"} 2\n",
        "kessoku_step{rank=\"0\",run=\"demo\"} 2\n",
        "kessoku_draws_total{rank=\"0\",run=\"demo\"} 8\n",
        "kessoku_loss{rank=\"0\",run=\"demo\"} 0.25\n",
        "kessoku_text_encoder_learning_rate{rank=\"0\",run=\"demo\"} 0.0005\n",
        "kessoku_planned_steps{rank=\"0\",run=\"demo\"} 48000\n",
        "kessoku_world_size{rank=\"0\",run=\"demo\"} 2\n",
        "kessoku_phase_seconds_total{rank=\"0\",run=\"demo\",phase=\"forward\"} 0.25\n",
        "kessoku_category_draws_total{rank=\"0\",run=\"demo\",category=\"screenshots\"} 6\n",
        "kessoku_category_draws_total{rank=\"0\",run=\"demo\",category=\"rare\"} 0\n",
        "kessoku_mixture_difference{rank=\"0\",run=\"demo\"} 0.05",
        "kessoku_step_duration_seconds_count{rank=\"0\",run=\"demo\"} 2\n",
        "kessoku_last_step_timestamp_seconds{", "kessoku_build_info{",
        "kessoku_state{rank=\"0\",run=\"demo\",state=\"training\"} 1\n",
        "kessoku_memory_bytes{rank=\"0\",run=\"demo\",kind=\"resident\"} "})
    EXPECT_THAT(page, HasSubstr(line));
  const std::string shares = "kessoku_category_share{rank=\"0\",run=\"demo\",";
  EXPECT_THAT(page, AllOf(HasSubstr(shares + "category=\"screenshots\",of=\"drawn\"} 0.75\n"),
                          HasSubstr(shares + "category=\"screenshots\",of=\"asked\"} 0.7\n")));
}

TEST(RankExporter, CountersOfAResumedRunBeginAtZeroAndTheStepIsTheRuns) {
  RankExporter exporter({}, rank(0));
  exporter.begin(plan(24'000));
  exporter.observe(record(24'001));
  EXPECT_THAT(scrape(exporter.port()),
              AllOf(HasSubstr("kessoku_steps_total{rank=\"0\",run=\"demo\"} 1\n"),
                    HasSubstr("kessoku_draws_total{rank=\"0\",run=\"demo\"} 4\n"),
                    HasSubstr("kessoku_step{rank=\"0\",run=\"demo\"} 24001\n")));
}

TEST(RankExporter, AveragesReachBackBeforeARestart) {
  RankExporter exporter({}, rank(0));
  RunPlan resumed = plan(3);
  resumed.losses = {0.75, 0.75, 0.75};
  exporter.begin(resumed);
  exporter.observe(record(4));
  EXPECT_THAT(scrape(exporter.port()),
              HasSubstr("kessoku_loss_average{rank=\"0\",run=\"demo\",steps=\"100\"} 0.625\n"));
}

TEST(RankExporter, CountsVerifications) {
  RankExporter exporter({}, rank(0));
  exporter.begin(plan());
  StepRecord verified = record(1);
  verified.verified = true;
  exporter.observe(verified);
  exporter.observe(record(2));
  EXPECT_THAT(scrape(exporter.port()),
              HasSubstr("kessoku_verifications_total{rank=\"0\",run=\"demo\"} 1\n"));
}

TEST(RankExporter, WhatBelongsToTheWholeRunIsServedByRankZeroAlone) {
  RankExporter exporter({}, rank(1));
  exporter.begin(plan());
  exporter.observe(record(1));
  EXPECT_THAT(scrape(exporter.port()),
              AllOf(HasSubstr("kessoku_steps_total{rank=\"1\",run=\"demo\"} 1\n"),
                    Not(HasSubstr("kessoku_draws_total")), Not(HasSubstr("kessoku_loss")),
                    Not(HasSubstr("kessoku_run_seconds")), Not(HasSubstr("kessoku_world_size"))));
}

TEST(RankExporter, ASlowRankIsSeenBesideTheOthers) {
  RankExporter exporter({}, rank(1));
  exporter.begin(plan());
  exporter.observe(record(1));
  EXPECT_THAT(
      scrape(exporter.port()),
      AllOf(HasSubstr("kessoku_rank_slowness{rank=\"1\",run=\"demo\",against=\"others\"} 2.5\n"),
            HasSubstr("kessoku_rank_slowness{rank=\"1\",run=\"demo\",against=\"past\"} 1\n")));
}

TEST(RankExporter, IsAnsweredBeforeTheFirstStep) {
  const RankExporter exporter({}, rank(0));
  EXPECT_THAT(scrape(exporter.port()),
              AllOf(HasSubstr("kessoku_state{rank=\"0\",run=\"demo\",state=\"starting\"} 1\n"),
                    HasSubstr("kessoku_steps_total{rank=\"0\",run=\"demo\"} 0\n")));
}

TEST(RankExporter, CheckpointsAreCountedByTheirResult) {
  RankExporter exporter({}, rank(0));
  exporter.begin(plan());
  exporter.observe(CheckpointRecord{.step = 5, .written = true, .seconds = 1.5, .bytes = 1000});
  exporter.observe(CheckpointRecord{.step = 10, .written = false, .seconds = 0.5});
  const std::string page = scrape(exporter.port());
  for (const char* line :
       {"kessoku_checkpoints_total{rank=\"0\",run=\"demo\",result=\"written\"} 1\n",
        "kessoku_checkpoints_total{rank=\"0\",run=\"demo\",result=\"failed\"} 1\n",
        "kessoku_checkpoint_step{rank=\"0\",run=\"demo\"} 5\n",
        "kessoku_checkpoint_duration_seconds{rank=\"0\",run=\"demo\"} 1.5\n",
        "kessoku_checkpoint_bytes{rank=\"0\",run=\"demo\"} 1000\n"})
    EXPECT_THAT(page, HasSubstr(line));
}

TEST(RankExporter, ALossThatIsNotFiniteIsServedAsSuchAndCountersSurviveIt) {
  RankExporter exporter({}, rank(0));
  exporter.begin(plan());
  StepRecord bad = record(1);
  bad.loss = bad.seconds = bad.phase_seconds[0] = std::numeric_limits<double>::quiet_NaN();
  bad.skipped = true;
  exporter.observe(bad);
  exporter.observe(record(2));
  exporter.observe(bad);
  EXPECT_THAT(
      scrape(exporter.port()),
      AllOf(HasSubstr("kessoku_loss{rank=\"0\",run=\"demo\"} Nan\n"),
            HasSubstr("kessoku_loss_average{rank=\"0\",run=\"demo\",steps=\"100\"} 0.25\n"),
            HasSubstr("kessoku_skipped_steps_total{rank=\"0\",run=\"demo\"} 2\n"),
            HasSubstr("kessoku_step_duration_seconds_sum{rank=\"0\",run=\"demo\"} 0.2"),
            HasSubstr("kessoku_phase_seconds_total{rank=\"0\",run=\"demo\",phase=\"data\"} 0\n")));
}

// promtool (Debian package prometheus) knows the exposition format and the naming rules.
TEST(RankExporter, PromtoolFindsNothingToSay) {
  const tests::TemporaryFolder folder;
  RankExporter exporter({}, {.run = "a \"run\"\nof \\ two lines", .ranks = 2});
  exporter.begin(plan());
  StepRecord last = record(1);
  last.validation_loss = 0.5;
  exporter.observe(last);
  exporter.observe(RunAccount{});
  const std::string answer = scrape(exporter.port());
  std::ofstream(folder.path() / "scrape") << answer.substr(answer.find("\r\n\r\n") + 4);
  const std::string command =
      "promtool check metrics <" + (folder.path() / "scrape").string() + " 2>&1";
  std::FILE* promtool = ::popen(command.c_str(), "r");
  std::string said(1000, '\0');
  said.resize(std::fread(said.data(), 1, said.size(), promtool));
  EXPECT_EQ(::pclose(promtool), 0) << said;
  EXPECT_EQ(said, "");
}

}  // namespace
}  // namespace kessoku::metrics
