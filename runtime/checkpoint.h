#pragma once

#include <filesystem>
#include <optional>

#include "model/stable_diffusion.h"
#include "runtime/communicator.h"
#include "runtime/trainer.h"

namespace kessoku::runtime {

/// What a run must not change between its halves, and how far it came; state/run.json.
struct RunIdentity {
  uint64_t seed = 0;
  uint64_t global_batch = 0;
  std::string store_digest;
};

/// The newest complete checkpoint of a run folder (where `latest` points), if there is one.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& run);

/// The step of a checkpoint. Throws UsageError if it is none, DataError if its manifest is damaged.
uint64_t checkpoint_step(const std::filesystem::path& checkpoint);

/// Writes checkpoints/step-NNNNNNNN below `run`: a diffusers folder of the published weights and
/// state/, each rank its own part. Beside its place first, fsynced, renamed, then `latest` is
/// moved; then old ones beyond `config.checkpoint.keep` go. Collective.
void write_checkpoint(const std::filesystem::path& run, const RunConfig& config,
                      const RunIdentity& identity, const model::StableDiffusion& model,
                      Trainer& trainer, Communicator& communicator);

/// Takes weights, optimizer, EMA and step from a checkpoint that any number of ranks wrote.
/// Collective (each rank reads). Throws DataError naming the file that is damaged or does not fit,
/// UsageError if `identity` differs.
void load_checkpoint(const std::filesystem::path& checkpoint, const RunIdentity& identity,
                     Trainer& trainer);

}  // namespace kessoku::runtime
