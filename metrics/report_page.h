#pragma once

#include <string>

#include "metrics/report_data.h"

namespace kessoku::metrics {

/// What every page holds, so that it is known again.
inline constexpr const char* kReportMark = "Written by kessoku report";

/// The whole page: style, scripts, images and all. Every text out of the run is escaped.
std::string report_page(const ReportData& data);

}  // namespace kessoku::metrics
