#include "metrics/report/report_ledger.h"

#include "metrics/html.h"

namespace kessoku::metrics {

namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string folders(const LedgerFindings& findings) {
  std::vector<TableColumn> columns = {
      {"Folder", ""}, {"Draws", "number"}, {"Mean", "number"}, {"Spread", "number extra"}};
  constexpr size_t kWidth = kTimesteps / kLedgerBins;
  for (size_t i = 0; i < kLedgerBins; ++i)
    columns.push_back({fmt::format("{}–{}", i * kWidth, (i + 1) * kWidth - 1), "number"});
  Rows rows;
  const auto add = [&](const LearnedFolder& folder, const std::string& name) {
    const LossSum total = folder.total();
    rows.push_back({escape_html(name), grouped(total.count), short_number(total.mean()),
                    short_number(total.spread())});
    for (const LossSum& bin : folder.bins) rows.back().push_back(short_number(bin.mean()));
  };
  add(findings.all, "all");
  for (const LearnedFolder& folder : findings.folders) add(folder, folder.folder);
  return section("Loss by folder and timesteps",
                 fmt::format("<p class=\"soft\">Steps {} to {}; columns are timesteps.</p>\n",
                             grouped(findings.first_step + 1), grouped(findings.step)) +
                     html_table(columns, rows));
}

std::string images(const char* title, const char* note, const std::vector<LearnedImage>& list) {
  if (list.empty()) return "";
  Rows rows;
  for (const LearnedImage& image : list) {
    rows.push_back({escape_html(image.source), fmt::format("{:.2f}", image.relative),
                    fmt::format("{:.1f}", image.deviation), grouped(image.losses.count),
                    short_number(image.losses.mean()), short_number(image.losses.spread())});
  }
  return section(title, fmt::format("<p class=\"soft\">{}</p>\n", note) +
                            html_table({{"Image", ""},
                                        {"Relative", "number"},
                                        {"Deviation", "number"},
                                        {"Draws", "number"},
                                        {"Mean", "number extra"},
                                        {"Spread", "number extra"}},
                                       rows));
}

}  // namespace

std::string ledger_sections(const LedgerFindings& findings) {
  return folders(findings) +
         images("Far above their folder",
                "Their losses are 3 standard deviations or more above those of their folder at the "
                "same timesteps: captions that do not fit, damaged images, or what the folder has "
                "only one of.",
                findings.suspicious) +
         images("Learned worst",
                "Relative to what all images lose at the same timesteps; of images with 5 draws or "
                "more.",
                findings.worst) +
         images("Learned best", "Likewise.", findings.best);
}

}  // namespace kessoku::metrics
