#include "metrics/exporter/series_registry.h"

namespace kessoku::metrics {

prometheus::Gauge& SeriesRegistry::gauge(const char* name, const char* help,
                                         const prometheus::Labels& own) {
  return prometheus::BuildGauge().Name(name).Help(help).Labels(labels_).Register(registry_).Add(
      own);
}

prometheus::Counter& SeriesRegistry::counter(const char* name, const char* help,
                                             const prometheus::Labels& own) {
  return prometheus::BuildCounter().Name(name).Help(help).Labels(labels_).Register(registry_).Add(
      own);
}

prometheus::Histogram& SeriesRegistry::histogram(
    const char* name, const char* help, const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Labels(labels_).Register(registry_).Add(
      {}, buckets);
}

void SeriesRegistry::before_scrape(std::function<void()> update) {
  const std::lock_guard lock(mutex_);
  updates_.push_back(std::move(update));
}

std::vector<prometheus::MetricFamily> SeriesRegistry::Collect() const {
  const std::lock_guard lock(mutex_);
  for (const auto& update : updates_) update();
  return registry_.Collect();
}

}  // namespace kessoku::metrics
