#pragma once

#include <exception>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>

#include "model/stable_diffusion/stable_diffusion.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/checkpoint/snapshot.h"

namespace kessoku::runtime {

/// Writes checkpoints while training goes on. `begin` copies the run's state; each rank then writes
/// its part (its ranges of the state, and as much of the weight files) on a thread of its own, and
/// when all have, rank 0 commits. The ranks learn from each
/// other through two numbers that Trainer::step sums with its own. A checkpoint that cannot be
/// written (full disk, folder gone) is dropped with a message: the one before it stays, and
/// training goes on.
class CheckpointWriter {
 public:
  /// The references must outlive the writer.
  CheckpointWriter(std::filesystem::path run, const RunConfig& config, RunIdentity identity,
                   const data::Store& store, const model::StableDiffusion& model,
                   Communicator& communicator);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  ~CheckpointWriter();

  /// Bytes that a rank's snapshot takes.
  uint64_t snapshot_bytes(Trainer& trainer) const { return snapshot_.bytes(trainer); }
  /// Whether one is under way; the same on all ranks.
  bool busy() const { return phase_ != Phase::kIdle; }
  /// Takes the memory for copies in the background, if there is enough: call it after a step, when
  /// the process has once had all that a step needs. Else the first `begin` does, and takes longer.
  void reserve(Trainer& trainer);
  /// Starts one; none may be under way. Collective.
  void begin(Trainer& trainer);
  /// This rank's share of the numbers to sum: whether its part is unfinished, whether it failed.
  WriterState own_state();
  /// Goes on with what all ranks' states tell.
  void advance(const WriterState& all);
  /// Waits for the one under way. Collective. True if the last checkpoint begun is complete.
  bool finish();

 private:
  enum class Phase { kIdle, kParts, kCommit };
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
  nlohmann::json layout_;
  Snapshot snapshot_;
  Phase phase_ = Phase::kIdle;
  std::future<void> reserving_, work_;
  bool failed_ = false, complete_ = true;
};

}  // namespace kessoku::runtime
