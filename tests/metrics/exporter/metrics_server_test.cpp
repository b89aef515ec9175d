#include "metrics/exporter/metrics_server.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/error.h"
#include "metrics/exporter/series_registry.h"
#include "tests/metrics/exporter/scrape.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using tests::ask;
using tests::scrape;

std::shared_ptr<SeriesRegistry> one_series() {
  auto registry = std::make_shared<SeriesRegistry>(prometheus::Labels{{"run", "demo"}});
  registry->gauge("kessoku_step", "The last step").Set(7);
  return registry;
}

TEST(MetricsServer, ServesTheSeriesAndNothingOfItsOwn) {
  const MetricsServer server({}, one_series());
  EXPECT_THAT(scrape(server.port()),
              AllOf(StartsWith("HTTP/1.1 200 OK"), HasSubstr("kessoku_step{run=\"demo\"} 7\n"),
                    HasSubstr("text/plain; version=0.0.4"), Not(HasSubstr("exposer"))));
}

TEST(MetricsServer, HasAFrontPageAndAnswersHead) {
  const MetricsServer server({}, one_series());
  EXPECT_THAT(ask(server.port(), "GET /"),
              AllOf(StartsWith("HTTP/1.1 200 OK"), HasSubstr("href=\"/metrics\"")));
  EXPECT_THAT(ask(server.port(), "HEAD /metrics"),
              AllOf(StartsWith("HTTP/1.1 200 OK"), Not(HasSubstr("kessoku_step"))));
  EXPECT_THAT(ask(server.port(), "GET /other"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(ask(server.port(), "POST /metrics"), StartsWith("HTTP/1.1 405"));
}

TEST(MetricsServer, ListensOnAnotherPortWhereTheOneAskedForIsTaken) {
  const MetricsServer first({}, one_series());
  testing::internal::CaptureStderr();
  const MetricsServer second({.port = first.port()}, one_series());
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("warning"), HasSubstr("metrics.port"),
                    HasSubstr(std::to_string(second.port()))));
  EXPECT_NE(second.port(), first.port());
  EXPECT_THAT(scrape(second.port()), HasSubstr("kessoku_step{run=\"demo\"} 7\n"));
}

TEST(MetricsServer, AnImpossibleAddressIsAUsageError) {
  for (const char* address : {"no.such.address.invalid", ""})
    EXPECT_THROW(MetricsServer({.address = address}, one_series()), UsageError) << address;
  EXPECT_THROW(MetricsServer({.port = 70'000}, one_series()), UsageError);
}

TEST(MetricsServer, AsksForTheLoginOfItsFile) {
  const tests::TemporaryFolder folder;
  const std::string file = (folder.path() / "login").string();
  std::ofstream(file) << "ann:pass word\n";
  const MetricsServer server({.login_file = file}, one_series());
  EXPECT_THAT(scrape(server.port()),
              AllOf(StartsWith("HTTP/1.1 401"), HasSubstr("WWW-Authenticate: Basic"),
                    Not(HasSubstr("kessoku_step"))));
  const auto with = [&](const std::string& login) {
    return ask(server.port(), "GET /metrics", "Authorization: Basic " + login + "\r\n");
  };
  EXPECT_THAT(with("YW5uOnBhc3Mgd29yZA=="), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(with("YW5uOnBhc3Mgd29yZQ=="), StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(with("YW5uOnBhc3Mgd29yZA="), StartsWith("HTTP/1.1 401"));
}

TEST(MetricsServer, RefusesALoginFileWithoutALogin) {
  const tests::TemporaryFolder folder;
  const std::string file = (folder.path() / "login").string();
  EXPECT_THROW(MetricsServer({.login_file = file}, one_series()), UsageError);
  std::ofstream(file) << "password\n";
  EXPECT_THROW(MetricsServer({.login_file = file}, one_series()), UsageError);
}

}  // namespace
}  // namespace kessoku::metrics
