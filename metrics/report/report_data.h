#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metrics/ledger/ledger_findings.h"
#include "metrics/step_record.h"

namespace kessoku::metrics {

/// One row of the mixture: a folder, its share of the draws as asked for and the draws that it got.
struct MixtureRow {
  std::string path;
  std::optional<uint64_t> examples;  ///< images in it; not known without mixture.json
  std::optional<double> share;       ///< 0 to 1, asked for
  std::optional<uint64_t> draws;     ///< known for top-level folders
};

/// A grid of images made during the run or at its end.
struct SampleGrid {
  std::string title;
  std::string png;  ///< the file's bytes
  std::vector<std::string> prompts;
  bool of_step = false;  ///< not of the end
  bool large = false;    ///< deserves the page's whole width
};

/// A measured figure of the result, as text.
struct Figure {
  std::string label, value, target, note;
};

/// Rows of text below a row of headings.
struct Table {
  std::vector<std::string> headings;
  std::vector<std::vector<std::string>> rows;
};

/// A step from which something is different.
struct RunMark {
  uint64_t step;
  std::string text;
  bool change;  ///< of settings or data; else a restart
};

/// What a run folder tells.
struct ReportData {
  std::string name;
  std::string config;                                         ///< text of config.toml
  std::vector<std::pair<std::string, std::string>> settings;  ///< the most asked for, in order
  std::map<std::string, std::string> all_settings;            ///< by full key
  uint64_t planned_steps = 0;                                 ///< 0 = not known
  std::vector<StepRecord> records;
  std::vector<RunMark> marks;
  std::optional<LedgerFindings> ledger;
  std::vector<MixtureRow> top_folders, sub_folders;
  std::vector<SampleGrid> grids;  ///< newest first
  size_t grids_found = 0;         ///< of which `grids` are some
  std::vector<Figure> figures;
  Table per_character;
  std::vector<std::string> warnings;  ///< what a person should know of the run or its files
};

/// Reads config.toml, log.jsonl, account.jsonl, ledger/, mixture.json, measures.json and samples/
/// as far as they are there. Throws UsageError if the folder holds no run, DataError naming the
/// file if one is damaged.
ReportData read_report_data(const std::filesystem::path& run);

/// "1,200 of 48,000"; there must be records.
std::string steps_of(const ReportData& data);
/// Median of the samples a second; NaN if there are none.
double median_rate(const std::vector<StepRecord>& records);
/// "3 h 10 min"
std::string time_in_steps(const std::vector<StepRecord>& records);

}  // namespace kessoku::metrics
