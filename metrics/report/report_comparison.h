#pragma once

#include <string>
#include <vector>

#include "metrics/report/report_data.h"

namespace kessoku::metrics {

/// Tables that set several runs side by side: how far each came, settings that differ, losses by
/// folder and by timesteps. HTML.
std::string comparison(const std::vector<ReportData>& runs);

/// The newest images of each run.
std::string newest_images(const std::vector<ReportData>& runs);

}  // namespace kessoku::metrics
