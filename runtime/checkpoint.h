#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "runtime/trainer.h"

namespace kessoku::runtime {

/// What a run must not change between its halves, and how far it came; state/run.json.
struct RunIdentity {
  uint64_t seed = 0;
  uint64_t global_batch = 0;
  std::string store_digest;
};

/// Name, offset and length of every trained parameter, as a manifest holds them.
nlohmann::json layout_of(const FlatParameters& flat);

/// Takes weights, optimizer, EMA and step from a checkpoint that any number of ranks wrote.
/// Each rank reads; the files are verified already (verify_checkpoint). Throws DataError naming the
/// file that is damaged or does not fit, UsageError if `identity` differs.
void load_checkpoint(const std::filesystem::path& checkpoint, const RunIdentity& identity,
                     Trainer& trainer);

}  // namespace kessoku::runtime
