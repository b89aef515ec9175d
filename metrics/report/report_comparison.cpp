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

/// Mean losses over the last fifth of each run.
std::string late_losses(const std::vector<ReportData>& runs) {
  std::map<std::string, std::vector<double>> by_folder, by_timesteps;
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::vector<StepRecord>& records = runs[i].records;
    std::map<std::string, std::pair<double, double>> sums;
    std::array<std::pair<double, double>, kTimestepRanges> ranges{};
    const auto add = [](std::pair<double, double>& sum, double loss) {
      if (std::isfinite(loss)) sum.first += loss, ++sum.second;
    };
    for (size_t k = records.size() - records.size() / 5; k < records.size(); ++k) {
      for (const auto& [name, loss] : records[k].category_losses) add(sums[name], loss);
      for (size_t r = 0; r < kTimestepRanges; ++r) add(ranges[r], records[k].timestep_losses[r]);
    }
    const auto put = [&](std::vector<double>& row, const std::pair<double, double>& sum) {
      row.resize(runs.size(), NAN);
      row[i] = sum.first / sum.second;
    };
    for (const auto& [name, sum] : sums) put(by_folder[name], sum);
    for (size_t r = 0; r < kTimestepRanges; ++r)
      if (ranges[r].second > 0) put(by_timesteps[name_of_timesteps(r)], ranges[r]);
  }
  std::string out;
  for (const auto& [title, rows_of] :
       {std::pair{"Loss by folder", &by_folder}, std::pair{"Loss by timesteps", &by_timesteps}}) {
    Rows rows;
    for (const auto& [name, losses] : *rows_of) {
      rows.push_back({escape_html(name)});
      for (const double loss : losses) rows.back().push_back(short_number(loss));
    }
    if (rows.empty()) continue;
    out += section(title, "<p class=\"soft\">Mean over the last fifth of each run.</p>\n" +
                              html_table(columns_of(runs, "number"), rows));
  }
  return out;
}

}  // namespace

std::string comparison(const std::vector<ReportData>& runs) {
  return section("Runs", facts(runs)) + differing_settings(runs) + late_losses(runs);
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
