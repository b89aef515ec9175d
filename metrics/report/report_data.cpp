#include "metrics/report/report_data.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "metrics/html.h"
#include "metrics/progress.h"
#include "metrics/report/report_marks.h"
#include "metrics/report/report_samples.h"
#include "metrics/report/report_settings.h"
#include "metrics/run_log.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json read_json(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = parse_ordered_json(read_file(path), path.string());
  if (!json.is_object()) {
    throw DataError(fmt::format("{}: not a JSON object; mend it or move it away", path.string()));
  }
  return json;
}

/// The elements of the array under `key`; none if there is no such array.
Json elements(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : Json::array();
}

/// A value as a person reads it: a number, a text, "7 of 8" for {"found": 7, "of": 8}, or "" for
/// what is none of them.
std::string text_of(const Json& value) {
  if (value.is_object() && value.contains("found") && value.contains("of") &&
      !value["found"].is_structured() && !value["of"].is_structured()) {
    return text_of(value["found"]) + " of " + text_of(value["of"]);
  }
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_unsigned()) return grouped(value.get<uint64_t>());
  if (value.is_number()) return short_number(value.get<double>());
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return "";
}

std::string text_at(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? text_of(object[key]) : "";
}

void read_mixture(const fs::path& path, ReportData& data) {
  std::map<std::string, uint64_t> draws;
  for (const StepRecord& record : data.records) {
    for (const auto& [name, count] : record.category_draws) draws[name] += count;
  }
  const Json mixture = read_json(path);
  for (const Json& category : elements(mixture, "categories")) {
    MixtureRow row;
    row.path = text_at(category, "path");
    if (row.path.empty() || row.path == ".") continue;
    if (category.contains("examples") && category["examples"].is_number_unsigned()) {
      row.examples = category["examples"].get<uint64_t>();
    }
    if (category.contains("share") && category["share"].is_number()) {
      row.share = category["share"].get<double>();
    }
    if (row.path.find('/') != std::string::npos) {
      data.sub_folders.push_back(std::move(row));
      continue;
    }
    if (!data.records.empty()) row.draws = draws[row.path];
    draws.erase(row.path);
    data.top_folders.push_back(std::move(row));
  }
  for (const auto& [name, count] : draws) data.top_folders.push_back({name, {}, {}, count});
}

/// One column for each key that any character has, or a single one where they have plain values.
void read_per_character(const Json& characters, Table& table) {
  std::vector<std::string> keys;
  bool plain = false;
  for (const auto& [name, value] : characters.items()) {
    if (!value.is_object()) {
      plain = true;
      continue;
    }
    for (const auto& [key, _] : value.items()) {
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    }
  }
  table.headings = {"character"};
  if (plain) table.headings.emplace_back("value");
  table.headings.insert(table.headings.end(), keys.begin(), keys.end());
  for (const auto& [name, value] : characters.items()) {
    std::vector<std::string> row = {name};
    if (plain) row.push_back(value.is_object() ? "" : text_of(value));
    for (const std::string& key : keys) row.push_back(text_at(value, key.c_str()));
    table.rows.push_back(std::move(row));
  }
}

void read_measures(const fs::path& path, ReportData& data) {
  const Json measures = read_json(path);
  for (const Json& figure : elements(measures, "figures")) {
    const std::string unit = text_at(figure, "unit");
    const auto quantity = [&](const char* key) {
      const std::string value = text_at(figure, key);
      return value.empty() || unit.empty() ? value : value + " " + unit;
    };
    data.figures.push_back(
        {text_at(figure, "label"), quantity("value"), quantity("target"), text_at(figure, "note")});
  }
  const auto characters = measures.find("per_character");
  if (characters != measures.end() && characters->is_object()) {
    read_per_character(*characters, data.per_character);
  }
}

void warn_of_bad_steps(ReportData& data) {
  const auto bad = [](const StepRecord& r) {
    return !std::isfinite(r.loss) || !std::isfinite(r.grad_norm);
  };
  const auto count = std::count_if(data.records.begin(), data.records.end(), bad);
  if (count == 0) return;
  const auto first = std::find_if(data.records.begin(), data.records.end(), bad);
  data.warnings.push_back(
      fmt::format("In {} steps the loss or the gradient was not finite, first in step {}.",
                  grouped(count), grouped(first->step)));
}

}  // namespace

ReportData read_report_data(const fs::path& run) {
  const fs::path config = run / "config.toml", log = run / "log.jsonl";
  if (!fs::exists(config) && !fs::exists(log)) {
    throw UsageError(
        fmt::format("{}: holds no run (neither config.toml nor log.jsonl); name a folder that "
                    "`kessoku train` wrote",
                    run.string()));
  }
  ReportData data;
  data.name = fs::weakly_canonical(run).filename().string();
  if (fs::exists(config)) read_settings(read_file(config), data);
  if (fs::exists(log)) data.records = read_run_log(log);
  data.marks = marks_of(run, data.records);
  data.ledger = findings_of(run);
  read_mixture(run / "mixture.json", data);
  read_measures(run / "measures.json", data);
  read_samples(run / "samples", data);
  warn_of_bad_steps(data);
  return data;
}

std::string steps_of(const ReportData& data) {
  const uint64_t step = data.records.back().step;
  return grouped(step) + (data.planned_steps > step ? " of " + grouped(data.planned_steps) : "");
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

std::string time_in_steps(const std::vector<StepRecord>& records) {
  double seconds = 0;
  for (const StepRecord& record : records)
    if (std::isfinite(record.seconds)) seconds += record.seconds;
  return format_duration(seconds);
}

}  // namespace kessoku::metrics
