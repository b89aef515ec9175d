#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "data/store/store.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/snapshot.h"

namespace kessoku::runtime {

/// state/run.json of a checkpoint of `snapshot`, which `trainer` was just copied to and `ranks`
/// ranks write, but for its files; not verified.
nlohmann::json manifest_of(const RunConfig& config, const RunIdentity& identity,
                           const data::Store& store, Trainer& trainer, const Snapshot& snapshot,
                           int ranks);

/// Of a state shard's safetensors file: the ranges of the flat layout that its tensors hold.
std::map<std::string, std::string> shard_metadata(const std::vector<Range>& ranges);

}  // namespace kessoku::runtime
