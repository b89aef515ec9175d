#pragma once

#include "data/store/store.h"
#include "runtime/config/config.h"

namespace kessoku::runtime {

/// What a user would want to know before a run of `config` over `store`: settings without effect,
/// renames that match nothing, what was odd about the dataset … One line each. Reads all captions
/// if words are renamed.
std::vector<std::string> run_warnings(const RunConfig& config, const data::Store& store);

}  // namespace kessoku::runtime
