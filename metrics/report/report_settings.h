#pragma once

#include "metrics/report/report_data.h"

namespace kessoku::metrics {

/// Takes the run's name, its planned steps and its settings out of the text of config.toml.
void read_settings(std::string config, ReportData& data);

}  // namespace kessoku::metrics
