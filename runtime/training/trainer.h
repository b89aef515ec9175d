#pragma once

#include <functional>
#include <map>
#include <memory>

#include "data/loading/loader.h"
#include "metrics/step_record.h"
#include "runtime/communication/communicator.h"
#include "runtime/config/config.h"
#include "runtime/host/device_clock.h"
#include "runtime/training/audit.h"
#include "runtime/training/draw_counter.h"
#include "runtime/training/exact_sum.h"
#include "runtime/training/flat_parameters.h"
#include "runtime/training/gradient_reducer.h"
#include "runtime/training/loss.h"
#include "runtime/training/loss_scaler.h"
#include "runtime/training/optimizer.h"
#include "runtime/training/parameter_gather.h"
#include "runtime/training/trainer_state.h"
#include "runtime/verification/memory_watch.h"
#include "runtime/verification/verifier.h"

namespace kessoku::runtime {

/// train.precision: what the trained networks compute in.
at::ScalarType dtype_of(const RunConfig& config);

/// communication.reduction
Reduction reduction_of(const RunConfig& config);

/// How the global batch is split: ranks × micro × accumulation = G.
struct BatchSplit {
  uint64_t micro;
  uint64_t accumulation;
};

/// The largest micro-batch up to `at_most` that divides what a rank does of the global batch.
/// Throws UsageError if the ranks do not divide it.
BatchSplit split_batch(uint64_t global_batch, uint64_t at_most, int ranks);

/// How a rank gets on with writing its part of a checkpoint; over all ranks, the sums.
struct WriterState {
  int unfinished = 0, failed = 0;
};

/// What a rank would like to happen after a step; all ranks do it if one of them wants it.
struct Wishes {
  bool stop = false;
  bool checkpoint = false;
  bool copy = false;  ///< of the state, in memory
  WriterState writer{};
};

/// Along which the gradients that ranks send are summed.
SummationTree summation_tree(const RunConfig& config, int ranks);
Wire wire_of(const RunConfig& config);

/// Elements of a bucket of gradients, by communication.bucket_mb.
int64_t bucket_numel(const RunConfig& config);

/// Where gradients are over `ranks`: a buffer adds those of several micro-batches and is exchanged.
GradientStorage gradient_storage_of(const RunConfig& config, int ranks);

/// One run's weights, gradients and optimizer, stepped together by all ranks. All calls are
/// collective.
class Trainer {
 public:
  /// `parameters`, under unique names, are moved into flat buffers. The references must outlive the
  /// trainer. `storage`: gradient_storage_of, or a buffer.
  Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
          DrawCounter counter, Audit audit, Communicator& communicator, GradientStorage storage);
  Trainer(const RunConfig& config, const model::Parameters& parameters, Objective& objective,
          DrawCounter counter, Audit audit, Communicator& communicator);
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;
  ~Trainer();

  /// `parameters` of the model are not trained: they must stay as they are.
  void watch_untrained(const model::Parameters& parameters) {
    verifier_.watch_untrained(parameters);
  }

  /// One optimizer step over the global batch: the algorithm of the whole program. `wishes` comes
  /// back as agreed by all ranks. Throws Diverged if training has, WrongBits if a rank's bits are
  /// found to be wrong.
  metrics::StepRecord step(data::Loader& loader, Wishes& wishes);

  /// What is known of the bits that a checkpoint is to be written of.
  struct Verified {
    bool weights;    ///< the ranks' are alike
    bool gradients;  ///< computed again, they were the same
    bool all() const { return weights && gradients; }
  };
  /// Compares the ranks' weights now, unless this was done after the last step. Throws WrongBits.
  /// Nothing is verified where verify.every_steps is 0.
  Verified verify_weights();

  uint64_t steps_done() const { return steps_done_; }
  FlatParameters& flat() { return flat_; }
  TrainerState state() const;
  /// Goes on from a run: the tensors of `state`, which must be those of `state()`, and the
  /// networks' weights were filled in.
  void resume_at(const TrainerState& state);
  /// Waits until the networks hold the weights of the last step. To be called before they are used
  /// elsewhere.
  void finish_step() { gathers_.await_all(); }
  /// Whether the weights to publish, in f32, are those that the networks hold.
  bool publishes_own() const;
  /// The weights to publish, EMA's if there is one, whole and on every rank, a range after the
  /// other: `visit` gets the range of the flat layout and its f32 values, which it must not keep.
  void visit_published(const std::function<void(const Range&, const at::Tensor&)>& visit);
  /// Does `work` while the networks hold the weights to publish, rounded as they compute; then they
  /// have their own again, to the bit. If `work` throws, they keep those. It must not use this
  /// trainer's state.
  void with_published(const std::function<void()>& work);
  /// The parts of the flat layout that this rank writes of a checkpoint; all ranks' are all of it.
  std::vector<Range> written_ranges() const { return partition_.owned_by(communicator_.rank()); }

 private:
  /// What decides how one step changes weights.
  struct StepSize {
    double lr_factor;  ///< of the peak
    double ema_decay;
    double norm;  ///< of the gradients
    bool taken;   ///< false: they overflowed, and the step is left out
  };

  void order_weights(std::span<const model::Parameter> used);
  at::Tensor scaled_mean(const at::Tensor& losses) const;
  SquareSum squared_norm() const;
  void update(const StepSize& size);
  void average(size_t range, double decay);
  void swap_averages(bool back);
  bool is_sharded() const { return config_.optimizer.shard && communicator_.size() > 1; }
  double ema_decay() const;
  double largest_rate() const;

  // In trainer_verification.cpp.
  bool is_verified(uint64_t step) const;
  uint64_t chosen_micro_batch(int rank) const;
  size_t chosen_bucket() const;
  bool repeats_gradients() const;
  at::Tensor gradient_digests() const;
  void recompute(data::Loader& loader);
  std::string unplanned(const data::Batch& batch, uint64_t micro) const;
  std::string off_plan(const std::vector<data::Draw>& plan, const int64_t* categories) const;
  uint64_t digest_of_own_weights() const;
  void begin_update_check(const StepSize& size);
  void end_update_check();
  at::Tensor update_state(bool gradients) const;
  std::vector<SharedTensor> own_tensors() const;
  std::vector<SharedTensor> shared_tensors() const;
  void require_movement(const StepSize& size, bool moved, const std::string& problem);
  void verify(const StepSize& size, const std::vector<data::Draw>& plan);
  void compare_ranks(const std::vector<SharedNumber>& numbers);

  RunConfig config_;
  Objective& objective_;
  DrawCounter counter_;
  Audit audit_;
  Communicator& communicator_;
  at::Device device_;
  BatchSplit split_;
  Partition partition_;
  FlatParameters flat_;
  Optimizer optimizer_;  ///< leaves out steps whose gradients overflow, see LossScaler
  GradientReducer reducer_;
  ParameterGather gathers_;
  LossScaler scaler_;
  Verifier verifier_;
  MemoryWatch memory_;
  size_t checked_bucket_ = 0;  ///< whose update is computed twice
  DeviceClock clock_;
  bool is_in_forward_ = false;  ///< of a step
  uint64_t steps_done_ = 0;
  uint64_t left_out_ = 0;                          ///< of them, since gradients overflowed
  std::optional<uint64_t> compared_, recomputed_;  ///< the last step after which ranks did so
  at::Tensor ema_;
  std::map<std::vector<int64_t>, int64_t> flops_;  ///< of a micro-batch, by its sizes
};

}  // namespace kessoku::runtime
