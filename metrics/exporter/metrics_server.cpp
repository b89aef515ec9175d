#include "metrics/exporter/metrics_server.h"

#include <civetweb.h>
#include <netdb.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <sstream>
#include <string_view>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/system_error.h"
#include "metrics/html.h"

namespace kessoku::metrics {

namespace {

constexpr std::string_view kFrontPage =
    "<!doctype html><title>Kessoku</title><p>Kessoku: <a href=\"/metrics\">metrics</a>\n";

/// The Authorization header that the login asks for.
std::string expected_login(const std::string& file) {
  if (file.empty()) return "";
  std::string login = read_file(file);
  while (!login.empty() && (login.back() == '\n' || login.back() == '\r')) login.pop_back();
  if (login.find(':') == std::string::npos || login.find('\n') != std::string::npos) {
    throw UsageError(
        fmt::format("metrics.login_file: {} should hold one line, USER:PASSWORD", file));
  }
  return "Basic " + base64(login);
}

/// In a time that does not depend on where they differ.
bool same(std::string_view one, std::string_view other) {
  unsigned difference = one.size() != other.size();
  for (size_t i = 0; i < one.size() && i < other.size(); ++i)
    difference |= static_cast<unsigned char>(one[i]) ^ static_cast<unsigned char>(other[i]);
  return difference == 0;
}

int answer(mg_connection* connection, int status, const char* type, std::string_view body,
           const char* more = "") {
  const std::string_view method = mg_get_request_info(connection)->request_method;
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n"
            "%s\r\n",
            status, mg_get_response_code_text(connection, status), type, body.size(), more);
  if (method != "HEAD") mg_write(connection, body.data(), body.size());
  return status;
}

void knock(const std::string& address, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* place = nullptr;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &place) != 0) return;
  const int connection = ::socket(place->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection >= 0) {
    // Whether it is answered is of no matter.
    static_cast<void>(::connect(connection, place->ai_addr, place->ai_addrlen));
    ::close(connection);
  }
  ::freeaddrinfo(place);
}

}  // namespace

struct MetricsServer::Impl {
  Impl(const ServerOptions& asked, std::shared_ptr<prometheus::Collectable> collectable)
      : options(asked), login(expected_login(asked.login_file)), source(std::move(collectable)) {}

  bool listen(int port);
  std::string page() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, source->Collect());
    return text.str();
  }
  int serve(mg_connection* connection) const;

  ServerOptions options;
  std::string login;
  std::shared_ptr<prometheus::Collectable> source;
  std::mutex mutex;
  std::string problem;  ///< the last that civetweb told; guarded by `mutex`
  mg_context* context = nullptr;
};

/// False, with `problem`, if that is not possible.
bool MetricsServer::Impl::listen(int port) {
  const bool ipv6 = options.address.find(':') != std::string::npos && options.address[0] != '[';
  const std::string place = ipv6 ? fmt::format("[{}]:{}", options.address, port)
                                 : fmt::format("{}:{}", options.address, port);
  const char* words[] = {"listening_ports", place.c_str(), "num_threads", "2", nullptr};
  mg_callbacks callbacks{};
  callbacks.log_message = [](const mg_connection* connection, const char* message) {
    auto* self = static_cast<Impl*>(mg_get_user_data(mg_get_context(connection)));
    const std::lock_guard lock(self->mutex);
    self->problem = message;
    return 1;
  };
  context = mg_start(&callbacks, this, words);
  if (context == nullptr) return false;
  mg_set_request_handler(
      context, "/",
      [](mg_connection* connection, void* self) {
        return static_cast<const Impl*>(self)->serve(connection);
      },
      this);
  return true;
}

int MetricsServer::Impl::serve(mg_connection* connection) const {
  const mg_request_info* request = mg_get_request_info(connection);
  const std::string_view method = request->request_method, path = request->local_uri;
  const char* given = mg_get_header(connection, "Authorization");
  if (!login.empty() && !same(login, given == nullptr ? "" : given)) {
    return answer(connection, 401, "text/plain", "401: this page needs a login\n",
                  "WWW-Authenticate: Basic realm=\"kessoku\"\r\n");
  }
  if (method != "GET" && method != "HEAD")
    return answer(connection, 405, "text/plain", "405: only GET and HEAD\n");
  if (path == "/metrics")
    return answer(connection, 200, "text/plain; version=0.0.4; charset=utf-8", page());
  if (path == "/") return answer(connection, 200, "text/html; charset=utf-8", kFrontPage);
  return answer(connection, 404, "text/plain", "404: there is /metrics\n");
}

MetricsServer::MetricsServer(const ServerOptions& options,
                             std::shared_ptr<prometheus::Collectable> source) {
  if (options.port < 0 || options.port > 65535) {
    throw UsageError(fmt::format("metrics.port: {} is no port; give 0 to 65535", options.port));
  }
  impl_ = std::make_unique<Impl>(options, std::move(source));
  mg_init_library(MG_FEATURES_DEFAULT);
  if (impl_->listen(options.port)) return;
  const std::string why = impl_->problem;
  if (why.starts_with("Cannot create threads")) throw SystemError("metrics: cannot start a thread");
  if (options.port == 0 || !impl_->listen(0)) {
    throw UsageError(
        fmt::format("metrics: cannot listen on {}:{} ({}); set metrics.address to one of this "
                    "machine's",
                    options.address, options.port, why));
  }
  log_warning("metrics.port: {}; /metrics listens on port {} instead", why, port());
}

/// Left alone, civetweb looks every two seconds whether it shall stop, else when somebody connects.
MetricsServer::~MetricsServer() {
  const int listening = port();
  std::jthread visitor;
  try {
    visitor = std::jthread([&](const std::stop_token& gone) {
      while (!gone.stop_requested()) {
        knock(impl_->options.address, listening);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    });
  } catch (const std::system_error&) {
    // Without another thread it takes those two seconds.
  }
  mg_stop(impl_->context);
}

int MetricsServer::port() const {
  mg_server_port ports[1]{};
  return mg_get_server_ports(impl_->context, 1, ports) > 0 ? ports[0].port : 0;
}

}  // namespace kessoku::metrics
