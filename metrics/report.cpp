#include "metrics/report.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "metrics/report_data.h"
#include "metrics/report_page.h"

namespace kessoku::metrics {

namespace {

bool is_report(const std::filesystem::path& file) {
  const MappedFile page(file);
  const std::string_view text(reinterpret_cast<const char*>(page.bytes().data()),
                              page.bytes().size());
  return text.find(kReportMark) != text.npos;
}

}  // namespace

std::filesystem::path write_report(const std::filesystem::path& run) {
  const std::filesystem::path path = run / "report.html";
  if (std::filesystem::exists(path) && !is_report(path)) {
    throw UsageError(
        fmt::format("{}: kessoku report did not write this page; move it away", path.string()));
  }
  write_file_atomically(path, report_page(read_report_data(run)));
  return path;
}

}  // namespace kessoku::metrics
