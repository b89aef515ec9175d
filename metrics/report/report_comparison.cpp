#include "metrics/report/report_comparison.h"

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "metrics/html.h"
#include "metrics/report/report_curves.h"

namespace kessoku::metrics {

namespace {

using Rows = std::vector<std::vector<std::string>>;

std::vector<TableColumn> columns_of(const std::vector<ReportData>& runs, const char* classes) {
  std::vector<TableColumn> columns = {{" ", ""}};
  for (const ReportData& run : runs) columns.push_back({run.name, classes});
  return columns;
}

std::string facts(const std::vector<ReportData>& runs) {
  Rows rows;
  const auto row = [&](const char* title, const std::function<std::string(const ReportData&)>& of) {
    rows.push_back({title});
    for (const ReportData& run : runs) rows.back().push_back(run.records.empty() ? "–" : of(run));
  };
  row("Steps", [](const ReportData& run) { return steps_of(run); });
  row("Draws", [](const ReportData& run) { return grouped(run.records.back().draws); });
  row("Loss, smoothed",
      [](const ReportData& run) { return short_number(smoothed_loss(run.records)); });
  row("Validation loss, last", [](const ReportData& run) {
    double last = NAN;
    for (const StepRecord& record : run.records) last = record.validation_loss.value_or(last);
    return short_number(last);
  });
  row("Samples a second, median",
      [](const ReportData& run) { return short_number(median_rate(run.records)); });
  row("Time in steps", [](const ReportData& run) { return time_in_steps(run.records); });
  return html_table(columns_of(runs, "number"), rows);
}

std::string differing_settings(const std::vector<ReportData>& runs) {
  std::set<std::string> keys;
  for (const ReportData& run : runs)
    for (const auto& [key, value] : run.all_settings) keys.insert(key);
  Rows rows;
  for (const std::string& key : keys) {
    std::set<std::string> values;
    std::vector<std::string> cells = {escape_html(key)};
    for (const ReportData& run : runs) {
      const auto found = run.all_settings.find(key);
      values.insert(found == run.all_settings.end() ? "–" : found->second);
      cells.push_back(found == run.all_settings.end() ? "–" : escape_html(found->second));
    }
    if (values.size() > 1) rows.push_back(std::move(cells));
  }
  if (rows.empty()) return section("Settings", "<p class=\"soft\">All are alike.</p>\n");
  return section("Settings that differ", html_table(columns_of(runs, ""), rows));
}

}  // namespace

std::string comparison(const std::vector<ReportData>& runs) {
  return section("Runs", facts(runs)) + differing_settings(runs);
}

std::string newest_images(const std::vector<ReportData>& runs) {
  std::string out;
  for (const ReportData& run : runs) {
    if (run.grids.empty()) continue;
    const SampleGrid& grid = run.grids.front();
    const std::string title = escape_html(run.name + ": " + grid.title);
    out += fmt::format(R"(<figure><figcaption>{}</figcaption>)"
                       R"(<img alt="Grid of images, {}" src="data:image/png;base64,{}"></figure>)"
                       "\n",
                       title, title, base64(grid.png));
  }
  return out.empty() ? out : section("Newest images", "<div class=\"grids\">\n" + out + "</div>\n");
}

}  // namespace kessoku::metrics
