#include "metrics/exporter/run_series.h"

#include <algorithm>
#include <cmath>

#include "metrics/wall_clock.h"

namespace kessoku::metrics {

namespace {

/// From 5 ms to 6 minutes; neighbors differ by a quarter, so quantiles are right to some percent.
prometheus::Histogram::BucketBoundaries step_buckets() {
  prometheus::Histogram::BucketBoundaries bounds;
  for (double bound = 0.005; bound < 400; bound *= 1.25) bounds.push_back(bound);
  return bounds;
}

}  // namespace

RunSeries::RunSeries(SeriesRegistry& registry, const RunPlan& plan)
    : registry_(registry),
      plan_(plan),
      step_(registry.gauge("kessoku_step", "The last step of the run, over all restarts")),
      loss_recent_(registry.gauge("kessoku_loss_average", "Mean loss of the last steps",
                                  {{"steps", "100"}})),
      loss_long_(registry.gauge("kessoku_loss_average", "", {{"steps", "2000"}})),
      usual_(registry.gauge("kessoku_usual_step_seconds",
                            "Mean time from one step's end to the next one's, of the last 100")),
      interval_(registry.gauge("kessoku_checkpoint_interval_seconds",
                               "Time between checkpoints that the run file asks for; 0: none")),
      difference_(registry.gauge("kessoku_mixture_difference",
                                 "Largest difference of a folder's share of the draws since the "
                                 "process began from the share asked for")),
      checkpoint_step_(registry.gauge("kessoku_checkpoint_step", "Step of the newest checkpoint")),
      checkpoint_time_(registry.gauge("kessoku_checkpoint_timestamp_seconds",
                                      "When the newest checkpoint was complete (without one: when "
                                      "training began), since 1970")),
      checkpoint_seconds_(registry.gauge("kessoku_checkpoint_duration_seconds",
                                         "Time that the newest checkpoint took to be written")),
      checkpoint_bytes_(
          registry.gauge("kessoku_checkpoint_bytes", "Size of the newest checkpoint written")),
      loss_scale_(registry.gauge("kessoku_loss_scale", "fp16: factor on the loss; else 1")),
      draws_total_(
          registry.counter("kessoku_draws_total", "Draws of all ranks since the process began")),
      flops_(registry.counter("kessoku_flops_total",
                              "Floating-point operations of forward and backward of all ranks "
                              "since the process began, without what gradient checkpointing "
                              "repeats")),
      verifications_(
          registry.counter("kessoku_verifications_total",
                           "Steps since the process began after which ranks compared their bits")),
      bad_rows_(registry.counter(
          "kessoku_bad_rows_total",
          "Draws since the process began whose row was damaged and that other images took")),
      skipped_(registry.counter("kessoku_skipped_steps_total",
                                "Steps left out since their fp16 gradients overflowed")),
      written_(registry.counter("kessoku_checkpoints_total", "Checkpoints since the process began",
                                {{"result", "written"}})),
      failed_(registry.counter("kessoku_checkpoints_total", "", {{"result", "failed"}})),
      seconds_(registry.histogram("kessoku_step_duration_seconds", "Wall time of a step",
                                  step_buckets())) {
  registry.gauge("kessoku_planned_steps", "Steps that the run shall have at its end")
      .Set(static_cast<double>(plan.total_steps));
  step_.Set(static_cast<double>(plan.first_step));
  checkpoint_step_.Set(static_cast<double>(plan.first_step));
  checkpoint_time_.Set(plan.checkpoint_time > 0 ? plan.checkpoint_time : seconds_since_1970());
  loss_scale_.Set(1);
  interval_.Set(plan.checkpoint_seconds);
  for (const double loss : plan.losses) observe_loss(loss);
  for (size_t i = 0; i < numbers_.size(); ++i)
    numbers_[i] = &registry.gauge(kStepNumbers[i].gauge, kStepNumbers[i].help);
  if (plan.peak_flops > 0) {
    utilization_ = &registry.gauge("kessoku_model_flops_utilization",
                                   "Floating-point operations a second of the last step, relative "
                                   "to metrics.peak_tflops (MFU)");
  }
  if (plan.text_encoder_lr > 0) {
    text_encoder_lr_ = &registry.gauge("kessoku_text_encoder_learning_rate",
                                       "Learning rate of the text encoder in the last step");
  }
  for (const auto& [name, share] : plan.shares) {
    registry
        .gauge("kessoku_category_share", "Share of the draws, by top-level folder",
               {{"category", name}, {"of", "asked"}})
        .Set(share);
    folders_[name] = {
        &registry.counter("kessoku_category_draws_total",
                          "Draws since the process began, by top-level folder",
                          {{"category", name}}),
        &registry.gauge("kessoku_category_share", "", {{"category", name}, {"of", "drawn"}}),
        share};
  }
}

void RunSeries::observe(const StepRecord& record) {
  step_.Set(static_cast<double>(record.step));
  for (size_t i = 0; i < numbers_.size(); ++i) numbers_[i]->Set(record.*kStepNumbers[i].value);
  if (text_encoder_lr_ != nullptr) text_encoder_lr_->Set(record.lr * plan_.text_encoder_lr);
  if (record.validation_loss) {
    registry_
        .gauge("kessoku_validation_loss",
               "Mean loss of the examples that are held out, when last measured")
        .Set(*record.validation_loss);
    registry_.gauge("kessoku_validation_step", "Step after which the validation loss was measured")
        .Set(static_cast<double>(record.step));
  }
  flops_.Increment(record.flops);
  if (utilization_ != nullptr) utilization_->Set(record.flops / record.seconds / plan_.peak_flops);
  if (std::isfinite(record.seconds)) seconds_.Observe(record.seconds);
  if (record.verified) verifications_.Increment();
  bad_rows_.Increment(static_cast<double>(record.bad_rows));
  loss_scale_.Set(record.loss_scale);
  if (record.skipped) skipped_.Increment();
  observe_draws(record);
  observe_loss(record.loss);
  observe_pace(record);
}

void RunSeries::observe_draws(const StepRecord& record) {
  for (const auto& [name, draws] : record.category_draws) {
    const auto count = static_cast<double>(draws);
    draws_ += count;
    draws_total_.Increment(count);
    if (const auto folder = folders_.find(name); folder != folders_.end())
      folder->second.draws->Increment(count);
  }
  double largest = 0;
  for (const auto& [name, folder] : folders_) {
    const double drawn = draws_ > 0 ? folder.draws->Value() / draws_ : folder.asked;
    folder.drawn_share->Set(drawn);
    largest = std::max(largest, std::abs(drawn - folder.asked));
  }
  difference_.Set(largest);
}

void RunSeries::observe_loss(double loss) {
  if (!std::isfinite(loss)) return;  // it would stay in the averages
  recent_loss_.add(loss);
  long_loss_.add(loss);
  loss_recent_.Set(recent_loss_.value());
  loss_long_.Set(long_loss_.value());
}

void RunSeries::observe_pace(const StepRecord& record) {
  const double passed = last_time_ > 0 ? record.time - last_time_ : record.seconds;
  last_time_ = record.time;
  if (!(passed >= 0)) return;
  usual_seconds_.add(passed);
  usual_.Set(usual_seconds_.value());
  const double by_steps = static_cast<double>(plan_.checkpoint_steps) * usual_seconds_.value();
  const double by_clock = plan_.checkpoint_seconds;
  interval_.Set(by_steps > 0 && by_clock > 0 ? std::min(by_steps, by_clock)
                                             : std::max(by_steps, by_clock));
}

void RunSeries::observe(const CheckpointRecord& record) {
  if (!record.written) return failed_.Increment();
  written_.Increment();
  checkpoint_step_.Set(static_cast<double>(record.step));
  checkpoint_time_.Set(seconds_since_1970());
  checkpoint_seconds_.Set(record.seconds);
  checkpoint_bytes_.Set(static_cast<double>(record.bytes));
}

}  // namespace kessoku::metrics
