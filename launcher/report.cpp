#include "metrics/report/report.h"

#include <fmt/format.h>

#include "launcher/commands.h"

namespace kessoku::launcher {

void run(const ReportOptions& options) {
  fmt::print("{}\n", metrics::write_report({options.runs.begin(), options.runs.end()}).string());
}

}  // namespace kessoku::launcher
