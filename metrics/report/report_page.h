#pragma once

#include <string>

#include "metrics/report/report_data.h"

namespace kessoku::metrics {

/// What every page holds, so that it is known again.
inline constexpr const char* kReportMark = "Written by kessoku report";

/// The whole page of a run, or of several side by side: style, scripts, images and all. Every text
/// out of the runs is escaped.
std::string report_page(const std::vector<ReportData>& runs);

}  // namespace kessoku::metrics
