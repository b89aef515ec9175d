#pragma once

#include "launcher/options/scaling_options.h"
#include "runtime/planning/memory_plan.h"
#include "runtime/planning/network_model.h"
#include "runtime/planning/step_budget.h"
#include "runtime/planning/step_time_model.h"
#include "runtime/run/training_data.h"
#include "runtime/training/trainer.h"

namespace kessoku::launcher {

/// A step over so many ranks.
struct ScalingRow {
  int ranks = 0;
  std::string problem;  ///< why it cannot be; of the rest nothing is known then
  uint64_t global_batch = 0;
  runtime::BatchSplit split;
  runtime::StepPrediction step;
  double samples_per_second = 0;
  double efficiency = 0;        ///< samples a second and rank, of the first row's
  std::string rank_dependence;  ///< why rounding differs from that of other numbers of ranks
  runtime::MemoryPlan memory;
};

struct Scaling {
  std::string compute;    ///< where the seconds of a step come from
  bool measured = false;  ///< steps were taken here: activations and batches are known
  bool traced = false;    ///< memory is a GPU's: they are known
  int threads = 0;
  runtime::NetworkModel network;
  runtime::RunConfig config;
  std::optional<runtime::StepBudget> budget;  ///< of a GPU by its data sheet
  std::vector<ScalingRow> rows;
};

/// What a step takes over other numbers of ranks. Loads the model, and trains some steps of it for
/// each number of ranks unless it is told what they take. `program`: bytes that the process held
/// before it loaded any networks.
Scaling plan_scaling(const runtime::RunConfig& config, const runtime::TrainingData& data,
                     const ScalingOptions& options, uint64_t program);

}  // namespace kessoku::launcher
