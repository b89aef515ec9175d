#pragma once

#include "data/store/store.h"
#include "runtime/config/config.h"

namespace kessoku::launcher {

/// Throws what `kessoku train` would throw before its first step because model and store do not fit
/// the run file. Loads the model, on the CPU.
void check_model(const runtime::RunConfig& config, const data::Store& store);

/// The same for all that a run file needs. Returns what `kessoku train` would warn of.
std::vector<std::string> check_run(runtime::RunConfig config);

}  // namespace kessoku::launcher
