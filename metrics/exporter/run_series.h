#pragma once

#include <array>
#include <map>
#include <string>

#include "metrics/checkpoint_record.h"
#include "metrics/exporter/rank_exporter.h"
#include "metrics/exporter/series_registry.h"
#include "metrics/moving_average.h"
#include "metrics/step_record.h"

namespace kessoku::metrics {

/// What rank 0 tells of the whole run. For the training thread.
class RunSeries {
 public:
  /// The registry must outlive it.
  RunSeries(SeriesRegistry& registry, const RunPlan& plan);
  void observe(const StepRecord& record);
  void observe(const CheckpointRecord& record);

 private:
  void observe_draws(const StepRecord& record);
  void observe_loss(double loss);
  void observe_pace(const StepRecord& record);

  SeriesRegistry& registry_;
  RunPlan plan_;
  struct Folder {
    prometheus::Counter* draws;
    prometheus::Gauge* drawn_share;
    double asked;
  };
  std::map<std::string, Folder> folders_;
  double draws_ = 0;  ///< since the process began
  double last_time_ = 0;
  MovingAverage usual_seconds_{100}, recent_loss_{100}, long_loss_{2000};
  prometheus::Gauge &step_, &loss_recent_, &loss_long_, &usual_, &interval_, &difference_,
      &checkpoint_step_, &checkpoint_time_, &checkpoint_seconds_, &checkpoint_bytes_, &loss_scale_;
  prometheus::Counter &draws_total_, &flops_, &verifications_, &bad_rows_, &skipped_, &written_,
      &failed_;
  prometheus::Gauge *text_encoder_lr_ = nullptr, *utilization_ = nullptr;
  std::array<prometheus::Gauge*, std::size(kStepNumbers)> numbers_{};
  prometheus::Histogram& seconds_;
};

}  // namespace kessoku::metrics
