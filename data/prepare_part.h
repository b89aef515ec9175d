#pragma once

#include "data/prepare.h"

namespace kessoku::data {

/// What ranks tell each other between two barriers, as small files in the store's folder: needs no
/// more than the shared folder that the shards need anyway.
struct Part {
  std::string error{};  ///< of this rank; empty if all went well
  int exit_code = 0;
  bool unchanged = false;
  uint64_t rows = 0, encoded = 0, reused = 0;
  std::vector<Skipped> skipped{};
  std::vector<std::string> warnings{};
  StoreManifest::Shard shard{};
};

/// Runs `work` and exchanges its results: all ranks get all parts, in the order of ranks. If `work`
/// threw anywhere, all ranks throw that Error, so that none waits for another.
std::vector<Part> exchange(const PrepareOptions& options, const std::string& stage,
                           const std::function<Part()>& work);

/// Whether a file of that name belongs to a store or to the making of one.
bool is_store_file(const std::string& name);

}  // namespace kessoku::data
