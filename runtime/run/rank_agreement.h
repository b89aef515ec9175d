#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/store/store.h"
#include "runtime/communication/communicator.h"
#include "runtime/run/run_folder.h"
#include "runtime/training/flat_parameters.h"

namespace kessoku::runtime {

/// Something that all ranks must have alike.
struct SharedThing {
  std::string name;  ///< "the run file's settings"
  uint64_t digest;
};

/// Throws UsageError on every rank, naming the first rank and host that has something else than
/// rank 0, and what. Collective, with the same names everywhere.
void require_agreement(const std::vector<SharedThing>& things, Communicator& communicator);

/// Ranks that read other settings, another store, checkpoint, weights or program would train
/// something else or hang: throws as above.
void require_same_start(const RunConfig& config, const RunFolder& folder, const data::Store& store,
                        const FlatParameters& weights, Communicator& communicator);

}  // namespace kessoku::runtime
