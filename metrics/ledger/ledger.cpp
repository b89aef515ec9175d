#include "metrics/ledger/ledger.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kPrefix = "step-", kSuffix = ".jsonl";

std::optional<uint64_t> step_of(const fs::path& file) {
  const std::string name = file.filename().string();
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  const std::string digits =
      name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  if (digits.empty() || digits.size() > 18 || !std::ranges::all_of(digits, ::isdigit)) return {};
  return std::stoull(digits);
}

std::vector<std::pair<uint64_t, fs::path>> ledgers_of(const fs::path& run) {
  std::vector<std::pair<uint64_t, fs::path>> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(run / "ledger", absent)) {
    if (const auto step = step_of(entry.path())) found.emplace_back(*step, entry.path());
  }
  return found;
}

/// JSON holds UTF-8 only, names of files may hold any bytes.
std::string in_json(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json to_json(const LedgerImage& image) {
  const LossSum total = image.total();
  Json bins = Json::object();
  for (size_t i = 0; i < kLedgerBins; ++i) {
    const LossSum& bin = image.bins[i];
    if (bin.count > 0) bins[std::to_string(i)] = {bin.count, bin.sum, bin.squares};
  }
  return {{"image", image.source}, {"folder", image.folder},   {"count", total.count},
          {"mean", total.mean()},  {"spread", total.spread()}, {"bins", std::move(bins)}};
}

LedgerImage image_from(const Json& object) {
  LedgerImage image{object.at("image").get<std::string>(), object.at("folder").get<std::string>()};
  for (const auto& [bin, sums] : object.at("bins").items()) {
    image.bins.at(std::stoul(bin)) = {sums.at(0).get<uint64_t>(), sums.at(1).get<double>(),
                                      sums.at(2).get<double>()};
  }
  return image;
}

}  // namespace

void LossSum::add(double loss) {
  ++count;
  sum += loss;
  squares += loss * loss;
}

void LossSum::add(const LossSum& other) {
  count += other.count;
  sum += other.sum;
  squares += other.squares;
}

double LossSum::mean() const {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

double LossSum::spread() const {
  return std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean() * mean()));
}

LossSum LedgerImage::total() const {
  LossSum sum;
  for (const LossSum& bin : bins) sum.add(bin);
  return sum;
}

void Ledger::add(const StepRecord& record) {
  step = record.step;
  for (const DrawLoss& draw : record.draw_losses) {
    if (!std::isfinite(draw.loss)) continue;
    const size_t bin = static_cast<size_t>(std::max(0, draw.timestep)) * kLedgerBins / kTimesteps;
    images.at(draw.example).bins[std::min(bin, kLedgerBins - 1)].add(draw.loss);
  }
}

fs::path ledger_file(const fs::path& run, uint64_t step) {
  return run / "ledger" / fmt::format("{}{:08}{}", kPrefix, step, kSuffix);
}

std::optional<fs::path> newest_ledger(const fs::path& run, uint64_t last_step) {
  std::vector<std::pair<uint64_t, fs::path>> all = ledgers_of(run);
  std::erase_if(all, [&](const auto& each) { return each.first > last_step; });
  if (all.empty()) return std::nullopt;
  return std::ranges::max_element(all)->second;
}

void remove_other_ledgers(const fs::path& run, const std::vector<uint64_t>& steps) {
  std::error_code ignored;
  for (const auto& [step, file] : ledgers_of(run))
    if (std::ranges::find(steps, step) == steps.end()) fs::remove(file, ignored);
}

void write_ledger(const fs::path& file, const Ledger& ledger) {
  fs::create_directories(file.parent_path());
  const auto line = [](const Json& object) {
    return object.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  };
  std::string text = line({{"first_step", ledger.first_step}, {"step", ledger.step}});
  for (const LedgerImage& image : ledger.images)
    if (image.total().count > 0) text += line(to_json(image));
  write_file_atomically(file, text);
}

Ledger read_ledger(const fs::path& file) {
  const std::string text = read_file(file);
  Ledger ledger;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string where = fmt::format("{}:{}", file.string(), ++number);
    const Json object =
        parse_ordered_json(std::string_view(text).substr(begin, end - begin), where);
    try {
      if (number == 1) {
        ledger.first_step = object.at("first_step").get<uint64_t>();
        ledger.step = object.at("step").get<uint64_t>();
      } else {
        ledger.images.push_back(image_from(object));
      }
    } catch (const std::exception& error) {
      throw DataError(fmt::format("{}: no image of a ledger: {}", where, error.what()));
    }
    begin = end + 1;
  }
  return ledger;
}

void continue_ledger(Ledger& ledger, const Ledger& earlier) {
  ledger.first_step = earlier.first_step;
  ledger.step = earlier.step;
  std::unordered_map<std::string, const LedgerImage*> known;
  for (const LedgerImage& image : earlier.images) known.emplace(in_json(image.source), &image);
  for (LedgerImage& image : ledger.images) {
    const auto found = known.find(in_json(image.source));
    if (found != known.end()) image.bins = found->second->bins;
  }
}

}  // namespace kessoku::metrics
