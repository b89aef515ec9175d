#include "metrics/exporter.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <limits>

#include "base/error.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// What an HTTP client gets from 127.0.0.1:`port`/metrics, headers and all.
std::string scrape(int port) {
  const int connection = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(static_cast<uint16_t>(port));
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(connection, reinterpret_cast<sockaddr*>(&place), sizeof(place)), 0);
  const std::string request =
      "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(::send(connection, request.data(), request.size(), 0),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char piece[4096];
  for (ssize_t got = 0; (got = ::recv(connection, piece, sizeof(piece), 0)) > 0;)
    answer.append(piece, got);
  ::close(connection);
  return answer;
}

StepRecord record(uint64_t step) {
  StepRecord record;
  record.step = step;
  record.draws = 4 * step;
  record.loss = 0.25;
  record.grad_norm = 1.5;
  record.lr = 0.001;
  record.samples_per_second = 20;
  record.seconds = 0.2;
  record.phase_seconds[static_cast<size_t>(Phase::kForward)] = 0.125;
  record.category_draws = {{"fanart", 1}, {"screenshots", 3}};
  return record;
}

TEST(Exporter, AScrapeShowsWhatWasObserved) {
  Exporter exporter("127.0.0.1", 0, "demo", 0, 2, 48'000);
  exporter.observe(record(1));
  exporter.observe(record(2));
  EXPECT_THAT(
      scrape(exporter.port()),
      AllOf(
          HasSubstr("200 OK"), HasSubstr("kessoku_steps_total{rank=\"0\",run=\"demo\"} 2\n"),
          HasSubstr("kessoku_draws_total{rank=\"0\",run=\"demo\"} 8\n"),
          HasSubstr("kessoku_loss{rank=\"0\",run=\"demo\"} 0.25\n"),
          HasSubstr("kessoku_planned_steps{rank=\"0\",run=\"demo\"} 48000\n"),
          HasSubstr("kessoku_world_size{rank=\"0\",run=\"demo\"} 2\n"),
          HasSubstr(
              "kessoku_phase_seconds_total{rank=\"0\",run=\"demo\",phase=\"forward\"} 0.25\n"),
          HasSubstr(
              "kessoku_category_draws_total{rank=\"0\",run=\"demo\",category=\"screenshots\"} 6\n"),
          HasSubstr("kessoku_step_duration_seconds_count{rank=\"0\",run=\"demo\"} 2\n"),
          HasSubstr("kessoku_last_step_timestamp_seconds{"), HasSubstr("kessoku_build_info{")));
}

TEST(Exporter, CountsVerificationsAndTheDifferencesOfEarlierProcesses) {
  Exporter exporter("127.0.0.1", 0, "demo", 0, 2, 48'000);
  exporter.set_differences(3);
  StepRecord verified = record(1);
  verified.verified = true;
  exporter.observe(verified);
  exporter.observe(record(2));
  EXPECT_THAT(
      scrape(exporter.port()),
      AllOf(HasSubstr("kessoku_verifications_total{rank=\"0\",run=\"demo\"} 1\n"),
            HasSubstr("kessoku_verification_differences_total{rank=\"0\",run=\"demo\"} 3\n")));
}

TEST(Exporter, CountersOfAResumedRunGoOnFromItsStep) {
  Exporter exporter("127.0.0.1", 0, "demo", 0, 1, 48'000);
  exporter.observe(record(24'001));
  EXPECT_THAT(scrape(exporter.port()),
              HasSubstr("kessoku_steps_total{rank=\"0\",run=\"demo\"} 24001\n"));
}

TEST(Exporter, WhatBelongsToTheWholeRunIsServedByRankZeroAlone) {
  Exporter exporter("127.0.0.1", 0, "demo", 1, 2, 48'000);
  exporter.observe(record(1));
  EXPECT_THAT(scrape(exporter.port()),
              AllOf(HasSubstr("kessoku_steps_total{rank=\"1\",run=\"demo\"} 1\n"),
                    Not(HasSubstr("kessoku_draws_total")), Not(HasSubstr("kessoku_loss")),
                    Not(HasSubstr("kessoku_world_size"))));
}

TEST(Exporter, ALossThatIsNotFiniteIsServedAsSuchAndCountersSurviveIt) {
  Exporter exporter("127.0.0.1", 0, "demo", 0, 1, 10);
  StepRecord bad = record(1);
  bad.loss = bad.seconds = bad.phase_seconds[0] = std::numeric_limits<double>::quiet_NaN();
  exporter.observe(bad);
  exporter.observe(record(2));
  exporter.observe(bad);
  EXPECT_THAT(
      scrape(exporter.port()),
      AllOf(HasSubstr("kessoku_loss{rank=\"0\",run=\"demo\"} Nan\n"),
            HasSubstr("kessoku_step_duration_seconds_sum{rank=\"0\",run=\"demo\"} 0.2"),
            HasSubstr("kessoku_phase_seconds_total{rank=\"0\",run=\"demo\",phase=\"data\"} 0\n")));
}

TEST(Exporter, APortInUseIsAUsageErrorThatNamesIt) {
  Exporter first("127.0.0.1", 0, "demo", 0, 1, 10);
  try {
    Exporter second("127.0.0.1", first.port(), "demo", 0, 1, 10);
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr(std::to_string(first.port())), HasSubstr("metrics.port")));
  }
}

TEST(Exporter, AnImpossibleAddressIsAUsageError) {
  EXPECT_THROW(Exporter("no.such.address.invalid", 0, "demo", 0, 1, 10), UsageError);
  EXPECT_THROW(Exporter("", 0, "demo", 0, 1, 10), UsageError);
  EXPECT_THROW(Exporter("127.0.0.1", 70'000, "demo", 0, 1, 10), UsageError);
}

// promtool (Debian package prometheus) knows the exposition format and the naming rules.
TEST(Exporter, PromtoolFindsNothingToSay) {
  const tests::TemporaryFolder folder;
  Exporter exporter("127.0.0.1", 0, "a \"run\"\nof \\ two lines", 0, 2, 48'000);
  exporter.observe(record(1));
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
