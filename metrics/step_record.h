#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/run_change.h"

namespace kessoku::metrics {

/// Where a step's time goes.
enum class Phase {
  kData,
  kForward,
  kBackward,
  kCommunication,
  kOptimizer,
  kCheckpoint,
  kSample,
  kValidation,
  kVerification
};
inline constexpr size_t kPhases = 9;
/// "data", "forward", …: the names in log.jsonl, labels and the report.
const char* to_string(Phase phase);

/// One draw of a step.
struct DrawLoss {
  uint32_t example = 0;   ///< index into the store's rows
  int32_t timestep = -1;  ///< -1 where none is drawn (VAE)
  double loss = 0;
};

/// Timesteps that a model knows; ranges of them share the loss.
inline constexpr int kTimesteps = 1000;
inline constexpr size_t kTimestepRanges = 4;
/// "0-249", "250-499" …
std::string name_of_timesteps(size_t range);

/// What is known of one optimizer step; one line of log.jsonl.
struct StepRecord {
  uint64_t step = 0;              ///< 1 after the first
  uint64_t draws = 0;             ///< so far
  double loss = 0;                ///< mean over the global batch
  double grad_norm = 0;           ///< before clipping
  double lr = 0;                  ///< learning rate of this step
  double samples_per_second = 0;  ///< of this step, over all ranks
  double seconds = 0;             ///< of this step
  double flops = 0;               ///< floating-point operations of its networks, over all ranks
  bool verified = false;          ///< whether ranks compared their bits after this step
  uint64_t bad_rows = 0;          ///< draws whose row was damaged and that other images took
  std::array<double, kPhases> phase_seconds{};     ///< of rank 0
  std::map<std::string, uint64_t> category_draws;  ///< of this step, by top-level folder
  std::map<std::string, double> category_losses;   ///< their mean losses
  /// Mean losses of the draws with timesteps 0 to 249, 250 to 499 …; NaN where there are none.
  std::array<double, kTimestepRanges> timestep_losses = no_losses();
  std::vector<DrawLoss> draw_losses;  ///< in the order of draws; not in the log
  /// Mean over the examples that are held out, if it was measured after this step.
  std::optional<double> validation_loss;
  double time = 0;                   ///< of its end, seconds since 1970; 0: not known
  bool skipped = false;              ///< left out, since its fp16 gradients overflowed
  double loss_scale = 1;             ///< that its gradients were computed with
  std::vector<double> rank_seconds;  ///< by rank: of its own work (data, forward, backward)
  std::vector<RunChange> changes;    ///< made since the step before, as the run was resumed

  static std::array<double, kTimestepRanges> no_losses();  ///< NaN each
};

/// A number of each step, and how it is shown.
struct StepNumber {
  const char* key;  ///< in log.jsonl, and of its curve
  double StepRecord::*value;
  const char* gauge;  ///< name for Prometheus
  const char* help;
  const char* title;  ///< of its curve in the report
  const char* note;
  bool smoothed = true;  ///< whether the curve is shown smoothed, too
  bool from_zero = false;
};
inline constexpr StepNumber kStepNumbers[] = {
    {"loss", &StepRecord::loss, "kessoku_loss", "Mean loss of the last step's global batch", "Loss",
     "mean over the global batch"},
    {"grad_norm", &StepRecord::grad_norm, "kessoku_grad_norm",
     "Gradient norm of the last step, before clipping", "Gradient norm", "before clipping"},
    {"lr", &StepRecord::lr, "kessoku_learning_rate", "Learning rate of the last step",
     "Learning rate", "", /*smoothed=*/false, /*from_zero=*/true},
    {"samples_per_second", &StepRecord::samples_per_second, "kessoku_samples_per_second",
     "Samples a second of the last step, over all ranks", "Samples a second", "over all ranks",
     /*smoothed=*/true, /*from_zero=*/true},
};

/// The record as one line of JSON, without the line's end. JSON has no NaN and no infinity: such
/// numbers become null.
std::string to_json(const StepRecord& record);

/// The way back; null becomes NaN, unknown keys are passed over. Throws DataError saying what is
/// wrong (not where).
StepRecord step_record_from_json(std::string_view line);

}  // namespace kessoku::metrics
