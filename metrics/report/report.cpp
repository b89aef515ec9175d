#include "metrics/report/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "metrics/report/report_data.h"
#include "metrics/report/report_page.h"

namespace kessoku::metrics {

namespace {

bool is_report(const std::filesystem::path& file) {
  const MappedFile page(file);
  const std::string_view text(reinterpret_cast<const char*>(page.bytes().data()),
                              page.bytes().size());
  return text.find(kReportMark) != text.npos;
}

/// Where all runs have the same name, their folders tell them apart.
void tell_apart(const std::vector<std::filesystem::path>& runs, std::vector<ReportData>& data) {
  const auto alike = [&](const ReportData& each) { return each.name == data[0].name; };
  if (data.size() == 1 || !std::ranges::all_of(data, alike)) return;
  for (size_t i = 0; i < data.size(); ++i)
    data[i].name += fmt::format(" ({})", runs[i].lexically_normal().string());
}

}  // namespace

std::filesystem::path write_report(const std::vector<std::filesystem::path>& runs) {
  std::filesystem::path path =
      runs.front() / (runs.size() == 1 ? "report.html" : "comparison.html");
  if (std::filesystem::exists(path) && !is_report(path)) {
    throw UsageError(
        fmt::format("{}: kessoku report did not write this page; move it away", path.string()));
  }
  std::vector<ReportData> data;
  data.reserve(runs.size());
  for (const std::filesystem::path& run : runs) data.push_back(read_report_data(run));
  tell_apart(runs, data);
  write_file_atomically(path, report_page(data));
  return path;
}

}  // namespace kessoku::metrics
