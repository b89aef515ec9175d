#pragma once

#include <filesystem>

#include "metrics/report/report_data.h"

namespace kessoku::metrics {

/// Restarts by account.jsonl, and what was changed by the records: the steps from which they count,
/// in order.
std::vector<RunMark> marks_of(const std::filesystem::path& run,
                              const std::vector<StepRecord>& records);

}  // namespace kessoku::metrics
