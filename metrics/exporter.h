#pragma once

#include <memory>
#include <string>

#include "metrics/step_record.h"

namespace kessoku::metrics {

/// Serves /metrics of one rank for Prometheus while it lives; names begin with kessoku_, all carry
/// the labels `run` and `rank`. What belongs to the whole run (loss, draws, …) is served by rank 0
/// alone, so that sums over ranks are right. `observe` is for the training thread; scrapes are
/// answered by threads of its own.
class Exporter {
 public:
  /// `address` e.g. "127.0.0.1"; `port` 0 = any free one. `total_steps` are those that the run
  /// shall have at its end. Throws UsageError if it cannot be bound.
  Exporter(const std::string& address, int port, const std::string& run, int rank, int world_size,
           uint64_t total_steps);
  ~Exporter();
  /// The one bound to.
  int port() const;
  void observe(const StepRecord& record);
  /// Differences that verifications of the run have found so far, earlier processes' included.
  void set_differences(size_t count);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::metrics
