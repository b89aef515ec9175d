#pragma once

#include <memory>

#include "data/loader.h"
#include "metrics/step_record.h"
#include "runtime/audit.h"
#include "runtime/communicator.h"
#include "runtime/config.h"
#include "runtime/draw_counter.h"
#include "runtime/flat_parameters.h"
#include "runtime/objective.h"
#include "runtime/optimizer.h"

namespace kessoku::runtime {

/// How the global batch is split: ranks × micro × accumulation = G.
struct BatchSplit {
  uint64_t micro;
  uint64_t accumulation;
};

/// The largest micro-batch up to `at_most` that divides what a rank does of the global batch.
/// Throws UsageError if the ranks do not divide it.
BatchSplit split_batch(uint64_t global_batch, uint64_t at_most, int ranks);

/// What a rank would like to happen after a step; all ranks do it if one of them wants it.
struct Wishes {
  bool stop = false;
  bool checkpoint = false;
};

/// One run's weights, gradients and optimizer, stepped together by all ranks. All calls are
/// collective.
class Trainer {
 public:
  /// `parameters`, under unique names, are moved into flat buffers. The references must outlive the
  /// trainer.
  Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
          DrawCounter counter, Audit audit, Communicator& communicator);

  /// One optimizer step over the global batch: the algorithm of the whole program. `wishes` comes
  /// back as agreed by all ranks. Throws UsageError if training has diverged.
  metrics::StepRecord step(data::Loader& loader, Wishes& wishes);

  uint64_t steps_done() const { return optimizer_.steps_taken(); }
  FlatParameters& flat() { return flat_; }
  AdamW& optimizer() { return optimizer_; }
  /// This rank's part of the averaged weights; undefined without EMA.
  at::Tensor& ema() { return ema_; }
  /// The weights to use and to publish, whole, on every rank: EMA's if there is one.
  at::Tensor published_values();

 private:
  void reduce_gradients();
  void clip(double norm);
  void average();
  void gather_values();
  /// This rank's part of `flat`: what its optimizer steps.
  at::Tensor own_part(const at::Tensor& flat) const;

  RunConfig config_;
  Objective& objective_;
  DrawCounter counter_;
  Audit audit_;
  Communicator& communicator_;
  BatchSplit split_;
  FlatParameters flat_;
  AdamW optimizer_;
  at::Tensor ema_;
};

/// While it lives the networks hold `values` instead of their own weights.
class BorrowedWeights {
 public:
  BorrowedWeights(FlatParameters& flat, const at::Tensor& values);
  BorrowedWeights(const BorrowedWeights&) = delete;
  BorrowedWeights& operator=(const BorrowedWeights&) = delete;
  ~BorrowedWeights();

 private:
  FlatParameters& flat_;
  at::Tensor own_;
};

}  // namespace kessoku::runtime
