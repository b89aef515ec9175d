#pragma once

#include <filesystem>

namespace kessoku::metrics {

/// Reads a run folder (config.toml, log.jsonl, mixture.json, samples/, measures.json where there is
/// one) and writes report.html: one page without outside references. Returns its path. Throws
/// UsageError if the folder holds no run.
std::filesystem::path write_report(const std::filesystem::path& run);

}  // namespace kessoku::metrics
