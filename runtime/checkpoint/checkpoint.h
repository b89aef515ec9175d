#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "runtime/training/trainer.h"

namespace kessoku::runtime {

/// What a run must not change between its halves; state/run.json. Of what may, see
/// runtime/checkpoint/resume_changes.h.
struct RunIdentity {
  uint64_t seed = 0;
  uint64_t global_batch = 0;
};

/// Name, offset and length of every trained parameter, as a manifest holds them.
nlohmann::json layout_of(const FlatParameters& flat);

/// Takes weights, optimizer, EMA and step from a checkpoint that any number of ranks wrote.
/// Each rank reads; the files are verified already (verify_checkpoint). Throws DataError naming the
/// file that is damaged or does not fit, UsageError if `identity` differs.
void load_checkpoint(const std::filesystem::path& checkpoint, const RunIdentity& identity,
                     Trainer& trainer);

}  // namespace kessoku::runtime
