#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "metrics/exporter/metrics_server.h"

namespace kessoku::metrics {

/// The newest checkpoint of a run.
struct NewestCheckpoint {
  uint64_t step = 0;
  double time = 0;  ///< since 1970; 0: there is none
};

/// What `kessoku launch` serves of its run, also while no rank lives: the same labels as a rank's,
/// with rank="launch". Safe for concurrent use.
class LaunchExporter {
 public:
  /// `checkpoint` is called by the server's threads. Throws UsageError as MetricsServer.
  LaunchExporter(const ServerOptions& server, const std::string& name,
                 const std::filesystem::path& run, std::function<NewestCheckpoint()> checkpoint);
  ~LaunchExporter();
  int port() const;

  /// What was asked for and what is used; 0: not known.
  void set_ranks(int asked, int used);
  void set_hosts(int asked, int used);
  void started();
  /// `in_vain`: restarts in a row, this end included, that made no progress.
  void ended(int exit_code);
  void restarts(int in_vain);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::metrics
