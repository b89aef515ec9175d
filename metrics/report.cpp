#include "metrics/report.h"

#include "base/file.h"
#include "metrics/report_data.h"
#include "metrics/report_page.h"

namespace kessoku::metrics {

std::filesystem::path write_report(const std::filesystem::path& run) {
  const std::filesystem::path path = run / "report.html";
  write_file_atomically(path, report_page(read_report_data(run)));
  return path;
}

}  // namespace kessoku::metrics
