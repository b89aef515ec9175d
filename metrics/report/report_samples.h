#pragma once

#include "metrics/report/report_data.h"

namespace kessoku::metrics {

/// Adds the grids of `samples`: final*/grid.png, then step-*/grid.png from the newest to the
/// oldest. Of many steps only some are taken, evenly spread, as a page has to be opened by a
/// browser.
void read_samples(const std::filesystem::path& samples, ReportData& data);

}  // namespace kessoku::metrics
