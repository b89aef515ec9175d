#include "metrics/exporter/scrape.h"

#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "metrics/html.h"

namespace kessoku::metrics {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostBytes = 4u << 20;  // of an answer
constexpr size_t kAtOnce = 256;          // connections: a process may have some 1,000 descriptors

/// One request and its answer, without ever blocking but to look up a name.
class Visit {
 public:
  Visit(const std::string& address, std::string request) : request_(std::move(request)) {
    const size_t colon = address.rfind(':');
    if (colon == std::string::npos) return;
    std::string host = address.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (::getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) != 0) return;
    places_.reset(found);
    next_ = found;
    connect_next();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  ~Visit() { close(); }

  bool is_under_way() const { return connection_ >= 0; }
  pollfd waits_for() const {
    return {connection_, static_cast<short>(sent_ < request_.size() ? POLLOUT : POLLIN), 0};
  }
  /// When the connection is ready for what it waits for, or has failed.
  void go_on() {
    if (sent_ < request_.size()) {
      const ssize_t sent = ::send(connection_, request_.data() + sent_, request_.size() - sent_,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        sent_ += static_cast<size_t>(sent);
      } else if (errno != EAGAIN && errno != EINTR) {
        connect_next();
      }
      return;
    }
    char piece[1 << 16];
    const ssize_t got = ::recv(connection_, piece, sizeof(piece), MSG_DONTWAIT);
    if (got > 0 && text_.size() < kMostBytes) {
      text_.append(piece, static_cast<size_t>(got));
    } else if (got >= 0 || (errno != EAGAIN && errno != EINTR)) {
      whole_ = got == 0;
      close();
    }
  }
  ScrapeAnswer answer() const {
    const size_t head = text_.find("\r\n\r\n"), space = text_.find(' ');
    if (!whole_ || !text_.starts_with("HTTP/1.") || head == std::string::npos || space > head)
      return {};
    return {std::atoi(text_.c_str() + space), text_.substr(head + 4)};
  }

 private:
  /// A name may have several addresses, of which not all are served.
  void connect_next() {
    close();
    for (; next_ != nullptr && connection_ < 0; next_ = next_->ai_next) {
      connection_ = ::socket(next_->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (connection_ < 0) continue;
      if (::connect(connection_, next_->ai_addr, next_->ai_addrlen) != 0 && errno != EINPROGRESS)
        close();
    }
  }
  void close() {
    if (connection_ >= 0) ::close(connection_);
    connection_ = -1;
    sent_ = 0;
  }

  std::string request_, text_;
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> places_{nullptr, &::freeaddrinfo};
  const addrinfo* next_ = nullptr;
  int connection_ = -1;
  size_t sent_ = 0;
  bool whole_ = false;
};

void complete(std::vector<std::unique_ptr<Visit>>& visits, Clock::time_point end) {
  while (true) {
    std::vector<pollfd> waiting;
    std::vector<Visit*> who;
    for (const auto& visit : visits) {
      if (!visit->is_under_way()) continue;
      waiting.push_back(visit->waits_for());
      who.push_back(visit.get());
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (waiting.empty() || left.count() <= 0) return;
    ::poll(waiting.data(), waiting.size(), static_cast<int>(left.count()));
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].revents != 0) who[i]->go_on();
    }
  }
}

/// A label's value up to its closing quote, which `text` then begins with.
std::string unescaped(std::string_view& text) {
  std::string value;
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\' && text.size() > 1) {
      text.remove_prefix(1);
      value += text.front() == 'n' ? '\n' : text.front();
    } else {
      value += text.front();
    }
    text.remove_prefix(1);
  }
  return value;
}

/// False if the line is no sample.
bool parse(std::string_view line, Sample& sample) {
  const size_t name = line.find_first_of("{ ");
  if (line.starts_with('#') || name == 0 || name == std::string_view::npos) return false;
  sample.name = line.substr(0, name);
  line.remove_prefix(name);
  if (line.front() == '{') {
    while (line.front() != '}') {
      line.remove_prefix(1);
      const size_t equals = line.find("=\"");
      if (equals == std::string_view::npos) return false;
      const std::string label(line.substr(0, equals));
      line.remove_prefix(equals + 2);
      sample.labels[label] = unescaped(line);
      if (line.size() < 2) return false;
      line.remove_prefix(1);
      if (line.front() != ',' && line.front() != '}') return false;
    }
    line.remove_prefix(1);
  }
  const std::string number(line);
  char* end = nullptr;
  sample.value = std::strtod(number.c_str(), &end);
  return end != number.c_str();
}

}  // namespace

std::vector<Sample> parse_samples(std::string_view page) {
  std::vector<Sample> samples;
  while (!page.empty()) {
    const size_t end = std::min(page.find('\n'), page.size());
    if (Sample sample; parse(page.substr(0, end), sample)) samples.push_back(std::move(sample));
    page.remove_prefix(std::min(end + 1, page.size()));
  }
  return samples;
}

std::vector<ScrapeAnswer> fetch_metrics(const std::vector<std::string>& addresses,
                                        const std::string& login, double seconds) {
  std::vector<ScrapeAnswer> answers;
  for (size_t begin = 0; begin < addresses.size(); begin += kAtOnce) {
    std::vector<std::unique_ptr<Visit>> visits;
    for (size_t i = begin; i < std::min(begin + kAtOnce, addresses.size()); ++i) {
      std::string request = fmt::format("GET /metrics HTTP/1.0\r\nHost: {}\r\n", addresses[i]);
      if (!login.empty()) request += fmt::format("Authorization: Basic {}\r\n", base64(login));
      visits.push_back(std::make_unique<Visit>(addresses[i], request + "\r\n"));
    }
    complete(visits, Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(seconds)));
    for (const auto& visit : visits) answers.push_back(visit->answer());
  }
  return answers;
}

}  // namespace kessoku::metrics
