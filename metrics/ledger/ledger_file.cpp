#include "metrics/ledger/ledger_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::string_view kPrefix = "step-", kSuffix = ".jsonl";

fs::path file_of(const fs::path& run, uint64_t step) {
  return run / "ledger" / fmt::format("{}{:08}{}", kPrefix, step, kSuffix);
}

std::optional<uint64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string digits(
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size()));
  if (digits.empty() || digits.size() > 18 || !std::ranges::all_of(digits, ::isdigit)) return {};
  return std::stoull(digits);
}

/// By step.
std::map<uint64_t, fs::path> files_of(const fs::path& run) {
  std::map<uint64_t, fs::path> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(run / "ledger", absent)) {
    if (const auto step = step_of(entry.path().filename().string())) found[*step] = entry.path();
  }
  return found;
}

std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// By hand: a tree for each of many images would take ten times as long.
std::string to_text(const Ledger& ledger) {
  fmt::memory_buffer text;
  const auto put = std::back_inserter(text);
  fmt::format_to(put, "{{\"first_step\":{},\"step\":{}}}\n", ledger.first_step, ledger.step);
  for (const LedgerImage& image : ledger.images) {
    const LossSum total = image.total();
    fmt::format_to(put, "{{\"image\":{},\"folder\":{},\"count\":{}", quoted(image.source),
                   quoted(image.folder), total.count);
    if (total.count > 0)
      fmt::format_to(put, ",\"mean\":{},\"spread\":{}", total.mean(), total.spread());
    fmt::format_to(put, ",\"bins\":{{");
    const char* separator = "";
    for (size_t i = 0; i < kLedgerBins; ++i) {
      const LossSum& bin = image.bins[i];
      if (bin.count == 0) continue;
      fmt::format_to(put, "{}\"{}\":[{},{},{}]", separator, i, bin.count, bin.sum, bin.squares);
      separator = ",";
    }
    fmt::format_to(put, "}}}}\n");
  }
  return fmt::to_string(text);
}

std::string to_text(const StepRecord& record) {
  std::vector<std::string> draws;
  for (const DrawLoss& draw : record.draw_losses) {
    if (std::isfinite(draw.loss))
      draws.push_back(fmt::format("[{},{},{}]", draw.example, draw.timestep, draw.loss));
  }
  return fmt::format("{{\"step\":{},\"draws\":[{}]}}\n", record.step, fmt::join(draws, ","));
}

LedgerImage image_from(const Json& object) {
  LedgerImage image{object.at("image").get<std::string>(), object.at("folder").get<std::string>()};
  for (const auto& [bin, sums] : object.at("bins").items()) {
    image.bins.at(std::stoul(bin)) = {sums.at(0).get<uint64_t>(), sums.at(1).get<double>(),
                                      sums.at(2).get<double>()};
  }
  return image;
}

std::vector<DrawLoss> draws_from(const Json& object) {
  std::vector<DrawLoss> draws;
  for (const Json& draw : object.at("draws")) {
    draws.push_back(
        {draw.at(0).get<uint32_t>(), draw.at(1).get<int32_t>(), draw.at(2).get<double>()});
  }
  return draws;
}

/// Adds a line to `ledger`. False for a step after `last_step`, or with a gap before it.
bool take_line(const Json& object, bool first, uint64_t last_step, Ledger& ledger) {
  if (first) {
    ledger.first_step = object.at("first_step").get<uint64_t>();
    ledger.step = object.at("step").get<uint64_t>();
  } else if (object.contains("image")) {
    ledger.images.push_back(image_from(object));
  } else {
    const auto step = object.at("step").get<uint64_t>();
    if (step > last_step || step != ledger.step + 1) return false;
    ledger.add(step, draws_from(object));
  }
  return true;
}

}  // namespace

LedgerFile::LedgerFile(fs::path run, Ledger ledger)
    : run_(std::move(run)), ledger_(std::move(ledger)) {
  std::error_code ignored;
  for (const auto& [step, file] : files_of(run_))
    if (step > ledger_.step) fs::remove(file, ignored);
  begin();
}

void LedgerFile::append(const StepRecord& record) {
  ledger_.add(record.step, record.draw_losses);
  if (!file_.is_open()) return;
  file_ << to_text(record) << std::flush;
  if (file_) return;
  log_warning("{}: cannot be written; it goes on with the next checkpoint",
              (run_ / "ledger").string());
  file_.close();
}

void LedgerFile::begin() {
  const fs::path path = file_of(run_, ledger_.step);
  try {
    fs::create_directories(path.parent_path());
    write_file_atomically(path, to_text(ledger_));
    file_ = std::ofstream(path, std::ios::app);
  } catch (const std::exception& error) {  // the file before it goes on
    log_warning("the ledger is not written: {}", error.what());
  }
}

std::optional<Ledger> read_ledger(const fs::path& run, uint64_t last_step) {
  const std::map<uint64_t, fs::path> files = files_of(run);
  const auto after = files.upper_bound(last_step);
  if (after == files.begin()) return std::nullopt;
  const MappedFile file(std::prev(after)->second);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  Ledger ledger;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;  // torn
    const std::string where = fmt::format("{}:{}", file.path().string(), ++number);
    try {
      const Json object = parse_json(text.substr(begin, end - begin), where);
      if (!take_line(object, number == 1, last_step, ledger)) break;
    } catch (const DataError&) {
      throw;
    } catch (const std::exception& error) {
      throw DataError(fmt::format("{}: damaged: {}", where, error.what()));
    }
    begin = end + 1;
  }
  if (number == 0) throw DataError(fmt::format("{}: damaged: empty", file.path().string()));
  return ledger;
}

void remove_old_ledgers(const fs::path& run, const std::vector<uint64_t>& checkpoints) {
  const std::map<uint64_t, fs::path> files = files_of(run);
  const uint64_t newest = checkpoints.empty() ? 0 : std::ranges::max(checkpoints);
  std::error_code ignored;
  for (auto file = files.begin(); file != files.end(); ++file) {
    const auto next = std::next(file);
    const bool old = next != files.end() && next->first <= newest;
    if (old && std::ranges::find(checkpoints, file->first) == checkpoints.end())
      fs::remove(file->second, ignored);
  }
}

}  // namespace kessoku::metrics
