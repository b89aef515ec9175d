#pragma once

#include <filesystem>
#include <vector>

namespace kessoku::metrics {

/// Reads run folders (config.toml, log.jsonl, account.jsonl, ledger/, mixture.json, samples/,
/// measures.json where there is one) and writes one page without outside references into the first:
/// report.html of one run, comparison.html of several side by side. Returns its path. Throws
/// UsageError if a folder holds no run.
std::filesystem::path write_report(const std::vector<std::filesystem::path>& runs);

}  // namespace kessoku::metrics
