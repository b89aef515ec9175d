#include "metrics/report_page.h"

#include <cmath>

#include "metrics/html.h"
#include "metrics/progress.h"
#include "metrics/report_assets.h"
#include "metrics/report_curves.h"

namespace kessoku::metrics {

namespace {

// Nothing is loaded from anywhere, whatever the run's texts say.
constexpr std::string_view kContentPolicy =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
constexpr size_t kMostSubFolders = 500;

std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }

void add_fact(std::string& out, const std::string& label, const std::string& value) {
  out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escape_html(label), escape_html(value));
}

double median_rate(const std::vector<StepRecord>& records) {
  std::vector<double> rates;
  for (const StepRecord& record : records) {
    if (std::isfinite(record.samples_per_second)) rates.push_back(record.samples_per_second);
  }
  if (rates.empty()) return NAN;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

void add_header(std::string& out, const ReportData& data) {
  out += fmt::format("<header>\n<h1>{}</h1>\n", escape_html(data.name));
  for (const std::string& warning : data.warnings) {
    out += fmt::format("<p class=\"warning\" role=\"note\">{}</p>\n", escape_html(warning));
  }
  if (data.records.empty()) {
    out += "<p class=\"soft\">No step has been taken yet.</p>\n</header>\n";
    return;
  }
  const StepRecord& last = data.records.back();
  double seconds = 0;
  for (const StepRecord& record : data.records) {
    if (std::isfinite(record.seconds)) seconds += record.seconds;
  }
  out += "<dl class=\"facts\">\n";
  add_fact(out, "Steps",
           data.planned_steps == 0 || data.planned_steps == last.step
               ? grouped(last.step)
               : fmt::format("{} of {}", grouped(last.step), grouped(data.planned_steps)));
  add_fact(out, "Draws", grouped(last.draws));
  add_fact(out, "Loss, smoothed", short_number(smoothed_loss(data.records)));
  add_fact(out, "Draws a second, median", short_number(median_rate(data.records)));
  add_fact(out, "Time in steps", format_duration(seconds));
  out += "</dl>\n</header>\n";
}

void add_figures(std::string& out, const ReportData& data) {
  if (data.figures.empty() && data.per_character.rows.empty()) return;
  out += "<section>\n<h2>Figures</h2>\n";
  if (!data.figures.empty()) {
    out +=
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Measure</th><th scope=\"col\" "
        "class=\"number\">Value"
        "</th><th scope=\"col\" class=\"number\">Target</th><th "
        "scope=\"col\">Note</th></tr></thead>\n<tbody>\n";
    for (const Figure& figure : data.figures) {
      out += fmt::format(
          "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td "
          "class=\"number\">{}</td><td>{}</td></tr>\n",
          escape_html(figure.label), escape_html(figure.value), escape_html(figure.target),
          escape_html(figure.note));
    }
    out += "</tbody></table></div>\n";
  }
  if (!data.per_character.rows.empty()) {
    out += "<details><summary>By character</summary><div class=\"scroll\"><table>\n<thead><tr>";
    for (const std::string& heading : data.per_character.headings) {
      out += fmt::format("<th scope=\"col\">{}</th>", escape_html(heading));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (const auto& row : data.per_character.rows) {
      out += "<tr>";
      for (const std::string& cell : row) out += fmt::format("<td>{}</td>", escape_html(cell));
      out += "</tr>\n";
    }
    out += "</tbody></table></div></details>\n";
  }
  out += "</section>\n";
}

void add_plot(std::string& out, const char* id, const char* title, const char* note, bool wide) {
  out += fmt::format(
      "<figure{}><figcaption>{} <small>{}</small></figcaption><div class=\"plot\">"
      "<canvas id=\"{}\" role=\"img\" aria-label=\"{} over the steps of the "
      "run\"></canvas></div></figure>\n",
      wide ? " class=\"wide\"" : "", title, note, id, title);
}

void add_curves(std::string& out, const ReportData& data) {
  if (data.records.empty()) return;
  out += "<section>\n<h2>Curves</h2>\n<div class=\"plots\">\n";
  add_plot(out, "loss", "Loss", "mean over the global batch", true);
  add_plot(out, "grad_norm", "Gradient norm", "before clipping", false);
  add_plot(out, "lr", "Learning rate", "", false);
  add_plot(out, "samples_per_second", "Draws a second", "over all ranks", false);
  add_plot(out, "phases", "Time of a step by phase", "seconds, on rank 0", false);
  out += "</div>\n</section>\n";
}

/// A bar `share` of the widest wide.
std::string bar(const char* kind, double share, double widest) {
  return fmt::format("<div class=\"bar{}\" style=\"width:{:.1f}%\"></div>", kind,
                     100 * share / widest);
}

void add_sub_folders(std::string& out, const std::vector<MixtureRow>& rows) {
  if (rows.empty()) return;
  const size_t shown = std::min(rows.size(), kMostSubFolders);
  out += fmt::format(
      "<details><summary>{} sub-folders</summary><div class=\"scroll\"><table>\n<thead><tr><th "
      "scope=\"col\">Folder</th>"
      "<th scope=\"col\" class=\"number\">Pictures</th><th scope=\"col\" class=\"number\">Asked "
      "for</th></tr></thead>\n<tbody>\n",
      grouped(rows.size()));
  for (size_t i = 0; i < shown; ++i) {
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td "
        "class=\"number\">{}</td></tr>\n",
        escape_html(rows[i].path), rows[i].examples ? grouped(*rows[i].examples) : "–",
        rows[i].share ? percent(*rows[i].share) : "–");
  }
  out += "</tbody></table></div>\n";
  if (shown < rows.size())
    out += fmt::format("<p class=\"soft\">The first {} are shown.</p>\n", shown);
  out += "</details>\n";
}

void add_mixture(std::string& out, const ReportData& data) {
  if (data.top_folders.empty()) return;
  uint64_t total = 0;
  double widest = 1e-9;
  for (const MixtureRow& row : data.top_folders) total += row.draws.value_or(0);
  const auto got = [&](const MixtureRow& row) {
    return total > 0 ? static_cast<double>(row.draws.value_or(0)) / static_cast<double>(total)
                     : 0.0;
  };
  for (const MixtureRow& row : data.top_folders)
    widest = std::max({widest, row.share.value_or(0), got(row)});
  out +=
      "<section>\n<h2>Mixture</h2>\n<p class=\"soft\"><span class=\"key asked\"></span> asked for "
      "&ensp;<span class=\"key\"></span> got</p>\n"
      "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Folder</th><th scope=\"col\" "
      "class=\"number\">Pictures</th>"
      "<th scope=\"col\" class=\"number\">Asked for</th><th scope=\"col\" class=\"number\">Got</th>"
      "<th scope=\"col\" class=\"number\">Draws</th><td></td></tr></thead>\n<tbody>\n";
  for (const MixtureRow& row : data.top_folders) {
    out += fmt::format(
        "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"number\">{}</td><td "
        "class=\"number\">{}</td>"
        "<td class=\"number\">{}</td><td class=\"bars\" aria-hidden=\"true\">{}{}</td></tr>\n",
        escape_html(row.path), row.examples ? grouped(*row.examples) : "–",
        row.share ? percent(*row.share) : "–", row.draws ? percent(got(row)) : "–",
        row.draws ? grouped(*row.draws) : "–", bar(" asked", row.share.value_or(0), widest),
        bar("", got(row), widest));
  }
  out += "</tbody></table></div>\n";
  add_sub_folders(out, data.sub_folders);
  out += "</section>\n";
}

std::string prompt_list(const std::vector<std::string>& prompts) {
  std::string out = "<ol>";
  for (const std::string& prompt : prompts) out += fmt::format("<li>{}</li>", escape_html(prompt));
  return out + "</ol>";
}

void add_samples(std::string& out, const ReportData& data) {
  if (data.grids.empty()) return;
  out += "<section>\n<h2>Pictures</h2>\n";
  if (data.grids.size() < data.grids_found) {
    out += fmt::format(
        "<p class=\"soft\">{} of {} grids are shown; all are in the run's folder, in "
        "samples/.</p>\n",
        data.grids.size(), data.grids_found);
  }
  out += "<div class=\"grids\">\n";
  const std::vector<std::string>* before = nullptr;
  for (const SampleGrid& grid : data.grids) {
    out += fmt::format(
        "<figure{}><figcaption>{}</figcaption><img alt=\"Grid of pictures, {}\" "
        "src=\"data:image/png;base64,{}\">",
        &grid == &data.grids.front() ? " class=\"newest\"" : "", escape_html(grid.title),
        escape_html(grid.title), base64(grid.png));
    if (!grid.prompts.empty() && (before == nullptr || *before != grid.prompts)) {
      out += fmt::format("<details><summary>{} prompts</summary>{}</details>", grid.prompts.size(),
                         prompt_list(grid.prompts));
      before = &grid.prompts;
    }
    out += "</figure>\n";
  }
  out += "</div>\n</section>\n";
}

void add_settings(std::string& out, const ReportData& data) {
  if (data.config.empty()) return;
  out += "<section>\n<h2>Settings</h2>\n";
  if (!data.settings.empty()) {
    out += "<div class=\"scroll\"><table><tbody>\n";
    for (const auto& [label, value] : data.settings) {
      out += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape_html(label),
                         escape_html(value));
    }
    out += "</tbody></table></div>\n";
  }
  out += fmt::format("<details><summary>config.toml</summary><pre>{}</pre></details>\n</section>\n",
                     escape_html(data.config));
}

}  // namespace

std::string report_page(const ReportData& data) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{} – Kessoku</title>\n<style>\n{}</style>\n</head>\n<body>\n",
      kContentPolicy, escape_html(data.name), kReportStyle);
  add_header(out, data);
  out += "<main>\n";
  add_figures(out, data);
  add_curves(out, data);
  add_mixture(out, data);
  add_samples(out, data);
  add_settings(out, data);
  out += fmt::format("</main>\n<footer><p>Written by kessoku report, version {}.</p></footer>\n",
                     KESSOKU_VERSION);
  out += fmt::format("<script type=\"application/json\" id=\"curves\">{}</script>\n",
                     curves_json(data.records));
  out += fmt::format("<script>{}</script>\n<script>{}</script>\n</body>\n</html>\n", kChartScript,
                     kReportScript);
  return out;
}

}  // namespace kessoku::metrics
