#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "data/store/store.h"
#include "metrics/run_change.h"
#include "model/networks/parameter.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// As checkpoints keep them.
nlohmann::json digests_json(const data::StoreDigests& digests);

/// What each example of a store is, as two (N) int64 tensors: "images", a digest of its source and
/// content, ascending, and "captions", one of its caption. Checkpoints keep them in `kLedgerFile`,
/// so that a run that goes on can tell what became of the store meanwhile.
model::Parameters store_ledger(const data::Store& store);
inline constexpr const char* kLedgerFile = "state/store.safetensors";

/// Throws UsageError for a key that --allow-change cannot help with: there is none of that name, or
/// no run can change it.
void check_allowed_changes(const std::vector<std::string>& allowed);

/// How a run differs from what it was up to `checkpoint`: keys of the run file that make a
/// difference to what is trained, images, captions and weights of the store, and `arithmetic` (see
/// arithmetic_of), under that name. Throws UsageError naming the key (data.store if its images
/// differ) where that is most often a mistake and `allowed` does not hold it; DataError if the
/// checkpoint is damaged.
std::vector<metrics::RunChange> changes_since(const std::filesystem::path& checkpoint,
                                              const RunConfig& config,
                                              const std::vector<std::string>& allowed,
                                              const data::Store& store,
                                              const std::string& arithmetic);

}  // namespace kessoku::runtime
