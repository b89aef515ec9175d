#include "metrics/report.h"

namespace kessoku::metrics {

std::filesystem::path write_report(const std::filesystem::path& run) { return run / "report.html"; }

}  // namespace kessoku::metrics
