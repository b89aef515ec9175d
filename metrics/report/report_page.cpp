#include "metrics/report/report_page.h"

#include <algorithm>

#include "base/version.h"
#include "metrics/html.h"
#include "metrics/report/report_assets.h"
#include "metrics/report/report_comparison.h"
#include "metrics/report/report_curves.h"
#include "metrics/report/report_ledger.h"

namespace kessoku::metrics {

namespace {

using Rows = std::vector<std::vector<std::string>>;

// Nothing is loaded from anywhere, whatever the run's texts say.
constexpr std::string_view kContentPolicy =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
constexpr size_t kMostSubFolders = 500;
constexpr size_t kOpenPrompts = 24;  // more are folded

std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }
std::string percent_or_dash(std::optional<double> share) { return share ? percent(*share) : "–"; }
std::string grouped_or_dash(std::optional<uint64_t> count) { return count ? grouped(*count) : "–"; }

std::string folded(const std::string& summary, const std::string& content, bool open = false) {
  return fmt::format("<details{}><summary>{}</summary>{}</details>\n", open ? " open" : "", summary,
                     content);
}

std::string facts(const ReportData& data) {
  const std::pair<const char*, std::string> all[] = {
      {"Steps", steps_of(data)},
      {"Draws", grouped(data.records.back().draws)},
      {"Loss, smoothed", short_number(smoothed_loss(data.records))},
      {"Samples a second, median", short_number(median_rate(data.records))},
      {"Time in steps", time_in_steps(data.records)}};
  std::string out = "<dl class=\"facts\">\n";
  for (const auto& [label, value] : all) {
    out += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", label, value);
  }
  return out + "</dl>\n";
}

std::string header(const ReportData& data) {
  std::string out = fmt::format("<header>\n<h1>{}</h1>\n", escape_html(data.name));
  for (const std::string& warning : data.warnings) {
    out += fmt::format("<p class=\"warning\" role=\"note\">{}</p>\n", escape_html(warning));
  }
  out += data.records.empty() ? "<p class=\"soft\">No step has been taken yet.</p>\n" : facts(data);
  return out + "</header>\n";
}

std::string figures(const ReportData& data) {
  Rows measured, characters;
  for (const Figure& f : data.figures) {
    measured.push_back(
        {escape_html(f.label), escape_html(f.value), escape_html(f.target), escape_html(f.note)});
  }
  std::string out;
  if (!measured.empty()) {
    out += html_table(
        {{"Measure", ""}, {"Value", "number"}, {"Target", "number"}, {"Note", "note"}}, measured);
  }
  std::vector<TableColumn> columns;
  for (const std::string& heading : data.per_character.headings) columns.push_back({heading, ""});
  for (const auto& row : data.per_character.rows) {
    characters.emplace_back();
    for (const std::string& cell : row) characters.back().push_back(escape_html(cell));
  }
  if (!characters.empty()) out += folded("By character", html_table(columns, characters));
  return out.empty() ? out : section("Figures", out);
}

std::string plot(const char* id, const char* title, const char* note, const char* classes = "") {
  return fmt::format(
      R"(<figure class="{}"><figcaption>{} <small>{}</small></figcaption><div class="plot">)"
      R"(<canvas id="{}" role="img" aria-label="{} over the steps of the run"></canvas></div></figure>)"
      "\n",
      classes, title, note, id, title);
}

std::string mark_list(const std::vector<ReportData>& runs) {
  std::string items;
  for (const ReportData& run : runs) {
    for (const RunMark& mark : run.marks) {
      items += fmt::format(R"(<li class="{}">step {}{}: {}</li>)", mark.change ? "change" : "",
                           grouped(mark.step), runs.size() > 1 ? ", " + escape_html(run.name) : "",
                           escape_html(mark.text));
    }
  }
  return items.empty() ? "" : "<ul class=\"marks\">" + items + "</ul>\n";
}

/// Of several runs what each step took is no fair comparison in one picture.
std::string curves(const std::vector<ReportData>& runs) {
  const auto any = [&](const auto& has) { return std::ranges::any_of(runs, has); };
  if (!any([](const ReportData& run) { return !run.records.empty(); })) return "";
  std::string plots;
  for (const StepNumber& number : kStepNumbers)
    plots += plot(number.key, number.title, number.note, plots.empty() ? "wide" : "");
  const auto has_losses = [](const ReportData& run) {
    return std::ranges::any_of(
        run.records, [](const StepRecord& record) { return !record.category_losses.empty(); });
  };
  if (runs.size() == 1) {
    if (any(has_losses)) {
      plots += plot("loss_by_folder", "Loss by folder", "smoothed; the folders drawn most");
      plots += plot("loss_by_timesteps", "Loss by timesteps", "smoothed");
    }
    plots +=
        plot("phases", "Time of a step by phase", "seconds, on rank 0; high peaks are cut off");
  }
  return section("Curves", mark_list(runs) + "<div class=\"plots\">\n" + plots + "</div>\n");
}

std::string sub_folders(const std::vector<MixtureRow>& folders) {
  Rows rows;
  for (size_t i = 0; i < std::min(folders.size(), kMostSubFolders); ++i) {
    rows.push_back({escape_html(folders[i].path), grouped_or_dash(folders[i].examples),
                    percent_or_dash(folders[i].share)});
  }
  std::string table =
      html_table({{"Folder", ""}, {"Images", "number"}, {"Asked for", "number"}}, rows);
  if (rows.size() < folders.size()) {
    table += fmt::format("<p class=\"soft\">The first {} are shown.</p>\n", rows.size());
  }
  return folded(grouped(folders.size()) + (folders.size() == 1 ? " sub-folder" : " sub-folders"),
                table);
}

std::string mixture(const ReportData& data) {
  if (data.top_folders.empty()) return "";
  uint64_t total = 0;
  for (const MixtureRow& row : data.top_folders) total += row.draws.value_or(0);
  const auto got = [&](const MixtureRow& row) -> std::optional<double> {
    if (!row.draws || total == 0) return {};
    return static_cast<double>(*row.draws) / static_cast<double>(total);
  };
  double widest = 1e-9;
  for (const MixtureRow& row : data.top_folders) {
    widest = std::max({widest, row.share.value_or(0), got(row).value_or(0)});
  }
  const auto bar = [&](const char* classes, std::optional<double> share) {
    return fmt::format(R"(<div class="{}" style="width:{:.1f}%"></div>)", classes,
                       100 * share.value_or(0) / widest);
  };
  Rows rows;
  for (const MixtureRow& row : data.top_folders) {
    rows.push_back({escape_html(row.path), grouped_or_dash(row.examples),
                    percent_or_dash(row.share), percent_or_dash(got(row)),
                    grouped_or_dash(row.draws),
                    bar("bar asked", row.share) + bar("bar", got(row))});
  }
  std::string out = R"(<p class="soft"><span class="key asked"></span> asked for &ensp;)"
                    R"(<span class="key"></span> got</p>)"
                    "\n";
  out += html_table({{"Folder", ""},
                     {"Images", "number extra"},
                     {"Asked for", "number"},
                     {"Got", "number"},
                     {"Draws", "number extra"},
                     {"", "bars"}},
                    rows);
  if (!data.sub_folders.empty()) out += sub_folders(data.sub_folders);
  return section("Mixture", out);
}

std::string changes(const ReportData& data) {
  Rows rows;
  for (const StepRecord& record : data.records) {
    for (const RunChange& change : record.changes) {
      rows.push_back({grouped(record.step), escape_html(change.key), escape_html(change.before),
                      escape_html(change.after), escape_html(concerned(change))});
    }
  }
  if (rows.empty()) return "";
  return section("Changes during the run", html_table({{"From step", "number"},
                                                       {"What", ""},
                                                       {"Before", "note"},
                                                       {"Then", "note"},
                                                       {"Concerned", ""}},
                                                      rows));
}

std::string prompt_list(const SampleGrid& grid) {
  std::string list = "<ol>";
  for (const std::string& prompt : grid.prompts) {
    list += fmt::format("<li>{}</li>", escape_html(prompt));
  }
  return folded(fmt::format("{} prompts", grid.prompts.size()), list + "</ol>",
                grid.large && grid.prompts.size() <= kOpenPrompts);
}

std::string images(const ReportData& data) {
  if (data.grids.empty()) return "";
  std::string out;
  if (data.grids.size() < data.grids_found) {
    out += fmt::format("<p class=\"soft\">{} of {} grids are shown; all are in samples/.</p>\n",
                       data.grids.size(), data.grids_found);
  }
  out += "<div class=\"grids\">\n";
  const std::vector<std::string>* listed = nullptr;
  for (const SampleGrid& grid : data.grids) {
    const std::string title = escape_html(grid.title);
    out += fmt::format(R"(<figure class="{}{}"><figcaption>{}</figcaption>)"
                       R"(<img alt="Grid of images, {}" src="data:image/png;base64,{}">)",
                       grid.of_step ? "step" : "", grid.large ? " large" : "", title, title,
                       base64(grid.png));
    if (!grid.prompts.empty() && (listed == nullptr || *listed != grid.prompts)) {
      out += prompt_list(grid);
      listed = &grid.prompts;
    }
    out += "</figure>\n";
  }
  return section("Images", out + "</div>\n");
}

std::string settings(const ReportData& data) {
  if (data.config.empty()) return "";
  Rows rows;
  for (const auto& [label, value] : data.settings) {
    rows.push_back({escape_html(label), escape_html(value)});
  }
  std::string out = rows.empty() ? "" : html_table({{"", ""}, {"", ""}}, rows);
  return section("Settings",
                 out + folded("config.toml", "<pre>" + escape_html(data.config) + "</pre>"));
}

std::string title_of(const std::vector<ReportData>& runs) {
  std::string title;
  for (const ReportData& run : runs) title += (title.empty() ? "" : ", ") + run.name;
  return title;
}

std::string one_run(const ReportData& data, const std::string& plots) {
  return header(data) + "<main>\n" + figures(data) + plots + changes(data) + mixture(data) +
         images(data) + (data.ledger ? ledger_sections(*data.ledger) : "") + settings(data);
}

std::string several_runs(const std::vector<ReportData>& runs, const std::string& plots) {
  std::string out = fmt::format("<header>\n<h1>{}</h1>\n", escape_html(title_of(runs)));
  for (const ReportData& run : runs) {
    for (const std::string& warning : run.warnings) {
      out += fmt::format("<p class=\"warning\" role=\"note\">{}: {}</p>\n", escape_html(run.name),
                         escape_html(warning));
    }
  }
  return out + "</header>\n<main>\n" + plots + comparison(runs) + newest_images(runs);
}

}  // namespace

std::string report_page(const std::vector<ReportData>& runs) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{} – Kessoku</title>\n<style>\n{}</style>\n</head>\n<body>\n",
      kContentPolicy, escape_html(title_of(runs)), kReportStyle);
  const std::string plots = curves(runs);
  out += runs.size() == 1 ? one_run(runs[0], plots) : several_runs(runs, plots);
  out += fmt::format(
      "</main>\n<footer><p>{}, version {}.</p></footer>\n"
      "<script type=\"application/json\" id=\"curves\">{}</script>\n"
      "<script>{}</script>\n<script>{}</script>\n</body>\n</html>\n",
      kReportMark, version(), curves_json(runs), kChartScript, kReportScript);
  return out;
}

}  // namespace kessoku::metrics
