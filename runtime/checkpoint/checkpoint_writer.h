#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <nlohmann/json.hpp>

#include "metrics/checkpoint_record.h"
#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/snapshot.h"
#include "runtime/training/diverged.h"

namespace kessoku::runtime {

/// Writes checkpoints while training goes on, of weights that are finite. The run's state is
/// copied; each rank then writes its part (its ranges of the state, and as much of the weight
/// files) on a thread of its own, and when all have, rank 0 commits. The ranks learn from each
/// other through two numbers that Trainer::step sums with its own. A checkpoint that cannot be
/// written (full disk, folder gone) is dropped with a message: the one before it stays, and
/// training goes on.
class CheckpointWriter {
 public:
  /// The references must outlive the writer. `before_copy`, if given, is called by all ranks before
  /// the state is copied.
  CheckpointWriter(std::filesystem::path run, const RunConfig& config, RunIdentity identity,
                   const data::Store& store, const model::StableDiffusion& model,
                   Communicator& communicator, std::function<void()> before_copy = {});
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  ~CheckpointWriter();

  /// Bytes that a rank's snapshot takes.
  uint64_t snapshot_bytes(Trainer& trainer) const { return snapshot_.bytes(trainer); }
  /// What a step's end means for checkpoints.
  enum class Due { kNo, kSoon, kNow };
  /// To be called after each step. `state` comes as the sum over all ranks, and leaves as this
  /// rank's share of the next sum. Goes on with the checkpoint under way; begins one if it is due
  /// (kSoon: when the one under way is done) and returns true then. Older ones go when a step has
  /// shown that the last complete one is of use. Throws Diverged if a checkpoint is due of weights
  /// that are not finite. Weights that do not fit into checkpoint.weights_dtype are written as
  /// fp32, with a warning. Collective.
  bool after_step(Trainer& trainer, WriterState& state, Due due);
  /// Waits for the one under way, whose weights have been tried. Collective. True if the last
  /// checkpoint begun is complete.
  bool finish();
  /// What became of the checkpoints that ended since the last call.
  std::vector<metrics::CheckpointRecord> take_records() { return std::exchange(records_, {}); }
  /// Does `work`, which trains. If it diverges, the checkpoint of the step before, if there is one,
  /// is set aside: its weights are why. Then throws UsageError with what to do. Collective.
  template <typename Work>
  auto watch(const Trainer& trainer, const Work& work) {
    try {
      return work();
    } catch (const Diverged& error) {
      give_up(error, trainer.steps_done());
    }
  }

 private:
  enum class Phase { kIdle, kParts, kCommit };
  bool busy() const { return phase_ != Phase::kIdle; }  ///< the same on all ranks
  void reserve(Trainer& trainer);
  void begin(Trainer& trainer);
  WriterState own_state();
  void advance(const WriterState& all);
  void proceed(const WriterState& all);
  bool wait();
  void widen(const std::string& why);
  [[noreturn]] void give_up(const Diverged& error, uint64_t step);
  std::string set_aside_diverged(uint64_t step) const;
  void remove_old() const;
  void write_part();
  std::vector<FilePart> write_weights(const std::filesystem::path& folder) const;
  FilePart write_state(const std::filesystem::path& folder) const;
  void commit();
  void report(const std::exception& error) const;
  bool first() const { return communicator_.rank() == 0; }
  std::filesystem::path beside_of(uint64_t step) const;

  std::filesystem::path run_;
  const RunConfig& config_;
  const RunIdentity identity_;
  const data::Store& store_;
  model::Parameters ledger_;  ///< of the store; made for the first checkpoint
  const model::StableDiffusion& model_;
  Communicator& communicator_;
  std::function<void()> before_copy_;
  nlohmann::json manifest_;  ///< of the newest checkpoint, but for its files; on rank 0
  at::ScalarType dtype_;     ///< of the weights to use
  Snapshot snapshot_;
  Phase phase_ = Phase::kIdle;
  std::future<void> reserving_, work_, removal_;
  bool due_ = false, failed_ = false, complete_ = true;
  bool untried_ = false;  ///< the newest checkpoint: no step has been taken from it yet
  std::chrono::steady_clock::time_point begun_;  ///< the newest checkpoint
  std::atomic<uint64_t> bytes_ = 0;              ///< of it, all ranks' together; on rank 0
  std::vector<metrics::CheckpointRecord> records_;
  std::string told_;  ///< the last warning about `latest`
};

}  // namespace kessoku::runtime
