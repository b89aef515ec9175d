#pragma once

#include <memory>
#include <string>

#include "metrics/step_record.h"

namespace kessoku::metrics {

/// Serves /metrics of one rank for Prometheus while it lives; names begin with kessoku_. `observe` is for the training thread.
class Exporter {
 public:
  /// `address` e.g. "127.0.0.1"; `port` 0 = any free one. Throws UsageError if it cannot be bound.
  Exporter(const std::string& address, int port, const std::string& run, int rank, int world_size, uint64_t total_steps);
  ~Exporter();
  int port() const;
  void observe(const StepRecord& record);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kessoku::metrics
