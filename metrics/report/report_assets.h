#pragma once

#include <string_view>

namespace kessoku::metrics {

// The page's fixed parts; CMake puts the files' text into the program.
extern const std::string_view kReportStyle;   ///< report_page.css
extern const std::string_view kReportScript;  ///< report_page.js
extern const std::string_view
    kChartScript;  ///< Chart.js 3 (MIT license, named at its head), from Debian

}  // namespace kessoku::metrics
