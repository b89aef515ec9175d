#include "metrics/exporter/scrape.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "metrics/exporter/metrics_server.h"
#include "metrics/exporter/series_registry.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Labels = std::map<std::string, std::string>;

constexpr const char* kOddName = "a \"run\"\nof \\ two lines, {with} = signs";

std::shared_ptr<SeriesRegistry> some_series() {
  auto registry = std::make_shared<SeriesRegistry>(prometheus::Labels{{"run", kOddName}});
  registry->gauge("kessoku_step", "The last step").Set(7.5e9);
  registry->gauge("kessoku_loss", "NaN where it diverges", {{"of", "x"}}).Set(NAN);
  return registry;
}

std::string local(int port) { return "127.0.0.1:" + std::to_string(port); }

/// A port on which somebody listens, and does not answer unless told to.
class SilentServer {
 public:
  SilentServer() {
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(place);
    auto* address = reinterpret_cast<sockaddr*>(&place);
    EXPECT_EQ(::bind(listening_, address, size), 0);
    EXPECT_EQ(::listen(listening_, 1), 0);
    EXPECT_EQ(::getsockname(listening_, address, &size), 0);
    port_ = ntohs(place.sin_port);
  }
  SilentServer(const SilentServer&) = delete;
  SilentServer& operator=(const SilentServer&) = delete;
  ~SilentServer() { ::close(listening_); }
  int port() const { return port_; }
  /// Once, after a request; then it hangs up.
  void answer(const std::string& text) const {
    const int visitor = ::accept(listening_, nullptr, nullptr);
    char request[4096];
    EXPECT_GT(::recv(visitor, request, sizeof(request), 0), 0);
    EXPECT_EQ(::send(visitor, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    ::close(visitor);
  }

 private:
  int listening_ = ::socket(AF_INET, SOCK_STREAM, 0), port_ = 0;
};

TEST(ParseSamples, ReadsWhatAServerServes) {
  const MetricsServer server({}, some_series());
  const std::vector<ScrapeAnswer> answers = fetch_metrics({local(server.port())}, "", 10);
  ASSERT_EQ(answers.size(), 1);
  EXPECT_EQ(answers[0].status, 200);
  const std::vector<Sample> samples = parse_samples(answers[0].page);
  ASSERT_EQ(samples.size(), 2);
  for (const Sample& sample : samples) {
    if (sample.name == "kessoku_step") {
      EXPECT_EQ(sample.labels, (Labels{{"run", kOddName}}));
      EXPECT_EQ(sample.value, 7.5e9);
    } else {
      EXPECT_EQ(sample.name, "kessoku_loss");
      EXPECT_EQ(sample.labels, (Labels{{"run", kOddName}, {"of", "x"}}));
      EXPECT_TRUE(std::isnan(sample.value));
    }
  }
}

TEST(ParseSamples, LeavesOutWhatIsNoSample) {
  for (const char* line : {"", "\n\n", "# HELP a b", "name", "name{", "name{} ", "name{a} 1",
                           "name{a=\"b\" 1", "name{a=\"b\\", "name{a=\"b\"",
                           "name{a=\"b\";c=\"d\"} 1", "{a=\"b\"} 1", "name{a=\"b\"} x"})
    EXPECT_THAT(parse_samples(line), IsEmpty()) << line;
  EXPECT_EQ(parse_samples("name{ 1\nother 2").size(), 1);
}

TEST(FetchMetrics, WhoDoesNotAnswerKeepsNobodyWaiting) {
  const MetricsServer server({}, some_series());
  const SilentServer silent;
  const int closed = SilentServer().port();
  const std::vector<ScrapeAnswer> answers =
      fetch_metrics({local(silent.port()), local(closed), "no.such.host.invalid:1", "no port",
                     local(server.port())},
                    "", 0.5);
  ASSERT_EQ(answers.size(), 5);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(answers[i].status, 0) << i;
  EXPECT_EQ(answers[4].status, 200);
  EXPECT_THAT(answers[4].page, HasSubstr("kessoku_step"));
}

TEST(FetchMetrics, TakesNoAnswerThatIsNotHttp) {
  for (const char* text : {"", "HTTP/1.", "HTTP/1.\r\n\r\n", "HTTP/1.1\r\n\r\n200 ",
                           "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n"}) {
    const SilentServer server;
    std::jthread other([&] { server.answer(text); });
    EXPECT_EQ(fetch_metrics({local(server.port())}, "", 10)[0].status, 0) << text;
  }
}

TEST(FetchMetrics, GivesTheLogin) {
  const tests::TemporaryFolder folder;
  const std::string file = (folder.path() / "login").string();
  std::ofstream(file) << "ann:pass word\n";
  const MetricsServer server({.login_file = file}, some_series());
  EXPECT_EQ(fetch_metrics({local(server.port())}, "ann:pass word", 10)[0].status, 200);
  EXPECT_EQ(fetch_metrics({local(server.port())}, "", 10)[0].status, 401);
}

}  // namespace
}  // namespace kessoku::metrics
