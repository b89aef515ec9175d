#pragma once

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <functional>
#include <mutex>
#include <vector>

namespace kessoku::metrics {

/// The series of one exporter, which all carry the same labels. Safe for concurrent use.
class SeriesRegistry : public prometheus::Collectable {
 public:
  explicit SeriesRegistry(prometheus::Labels labels) : labels_(std::move(labels)) {}

  /// The series of that name and these labels; made if it is not there, with value 0.
  prometheus::Gauge& gauge(const char* name, const char* help, const prometheus::Labels& own = {});
  prometheus::Counter& counter(const char* name, const char* help,
                               const prometheus::Labels& own = {});
  prometheus::Histogram& histogram(const char* name, const char* help,
                                   const prometheus::Histogram::BucketBoundaries& buckets);

  /// `update` runs before each scrape, on the thread that answers it: for what is only looked up.
  /// It must not wait for the training.
  void before_scrape(std::function<void()> update);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  prometheus::Labels labels_;
  prometheus::Registry registry_;
  mutable std::mutex mutex_;
  std::vector<std::function<void()>> updates_;
};

}  // namespace kessoku::metrics
