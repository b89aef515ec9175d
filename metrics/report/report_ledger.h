#pragma once

#include <string>

#include "metrics/ledger/ledger_findings.h"

namespace kessoku::metrics {

/// What a ledger tells, as sections of a page: losses by folder and timesteps, the images learned
/// worst and best, and those far above their folder. HTML.
std::string ledger_sections(const LedgerFindings& findings);

}  // namespace kessoku::metrics
