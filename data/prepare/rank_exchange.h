#pragma once

#include "data/prepare/prepare.h"

namespace kessoku::data {

/// What ranks tell each other.
struct Part {
  std::string error{};  ///< of this rank; empty if all went well
  int exit_code = 0;
  bool all_known = false;  ///< as in RowPlan
  uint64_t rows = 0, encoded = 0, reused = 0, refreshed = 0;
  uint64_t moved = 0;  ///< rows that are known from the old store, of a file of another name
  std::vector<Skipped> skipped{};
  std::vector<std::string> warnings{};
  StoreManifest::Shard shard{};
};

/// Runs `work` and exchanges its results: all ranks get all parts, in the order of ranks. If `work`
/// threw anywhere, all ranks throw that Error, so that none waits for another.
std::vector<Part> exchange(const PrepareOptions& options, const std::function<Part()>& work);

}  // namespace kessoku::data
