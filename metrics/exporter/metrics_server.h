#pragma once

#include <prometheus/collectable.h>

#include <memory>
#include <string>

namespace kessoku::metrics {

/// Where and how /metrics is served.
struct ServerOptions {
  std::string address = "127.0.0.1";
  int port = 0;            ///< 0: any free one
  std::string login_file;  ///< holds "USER:PASSWORD", which is then asked for; empty: nothing is
};

/// An HTTP server for Prometheus on threads of its own: /metrics, and / with a line that leads
/// there. If the port is taken it warns and listens on another one.
class MetricsServer {
 public:
  /// Throws UsageError for an address that is not this machine's, and for files that cannot be
  /// used.
  MetricsServer(const ServerOptions& options, std::shared_ptr<prometheus::Collectable> source);
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;
  ~MetricsServer();

  /// The one that it listens on.
  int port() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::metrics
