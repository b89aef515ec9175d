#include "metrics/step_record.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/json.h"

namespace kessoku::metrics {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, kPhases> kPhaseNames = {
    "data",       "forward", "backward",   "communication", "optimizer",
    "checkpoint", "sample",  "validation", "verification"};

uint64_t count(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) {
    throw DataError(fmt::format("\"{}\" should be a whole number", key));
  }
  return found->get<uint64_t>();
}

double number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!found->is_number()) throw DataError(fmt::format("\"{}\" should be a number", key));
  return found->get<double>();
}

std::vector<double> numbers(const Json& object, const char* key) {
  const Json& list = object.at(key);
  const auto is_number = [](const Json& item) { return item.is_number(); };
  if (!list.is_array() || !std::ranges::all_of(list, is_number))
    throw DataError(fmt::format("\"{}\" should be a list of numbers", key));
  return list.get<std::vector<double>>();
}

/// The object under `key`, empty if there is none.
Json object_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return Json::object();
  if (!found->is_object()) throw DataError(fmt::format("\"{}\" should be an object", key));
  return *found;
}

}  // namespace

const char* to_string(Phase phase) { return kPhaseNames.at(static_cast<size_t>(phase)); }

std::string name_of_timesteps(size_t range) {
  constexpr size_t kWidth = kTimesteps / kTimestepRanges;
  return fmt::format("{}-{}", range * kWidth, (range + 1) * kWidth - 1);
}

std::array<double, kTimestepRanges> StepRecord::no_losses() {
  std::array<double, kTimestepRanges> none{};
  none.fill(std::numeric_limits<double>::quiet_NaN());
  return none;
}

std::string to_json(const StepRecord& record) {
  Json phases = Json::object();
  for (size_t i = 0; i < kPhases; ++i) phases[kPhaseNames[i]] = record.phase_seconds[i];
  Json line = {{"step", record.step}, {"draws", record.draws}};
  for (const StepNumber& number : kStepNumbers) line[number.key] = record.*number.value;
  line["seconds"] = record.seconds;
  if (record.flops > 0) line["flops"] = record.flops;
  if (record.time > 0) line["time"] = record.time;
  if (record.skipped) line["skipped"] = true;
  if (record.loss_scale != 1) line["loss_scale"] = record.loss_scale;
  if (record.rank_seconds.size() > 1) line["rank_seconds"] = record.rank_seconds;
  line["phases"] = std::move(phases);
  line["categories"] = record.category_draws;
  if (!record.category_losses.empty()) line["category_losses"] = record.category_losses;
  if (std::ranges::any_of(record.timestep_losses, [](double loss) { return !std::isnan(loss); }))
    line["timestep_losses"] = record.timestep_losses;
  if (record.validation_loss) line["validation_loss"] = *record.validation_loss;
  if (record.verified) line["verified"] = true;
  if (record.bad_rows > 0) line["bad_rows"] = record.bad_rows;
  for (const RunChange& change : record.changes) line["changes"].push_back(to_json(change));
  // A folder's name need not be UTF-8. nlohmann-json writes a number that is not finite as null.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

StepRecord step_record_from_json(std::string_view line) {
  const Json object = parse_ordered_json(line, "a record");
  if (!object.is_object()) throw DataError("not a JSON object");
  StepRecord record;
  record.step = count(object, "step");
  record.draws = count(object, "draws");
  for (const StepNumber& each : kStepNumbers) record.*each.value = number(object, each.key);
  record.seconds = number(object, "seconds");
  if (object.contains("flops")) record.flops = number(object, "flops");
  if (object.contains("time")) record.time = number(object, "time");
  record.skipped = object.contains("skipped") && object["skipped"] == true;
  if (object.contains("loss_scale")) record.loss_scale = number(object, "loss_scale");
  if (object.contains("rank_seconds")) record.rank_seconds = numbers(object, "rank_seconds");
  if (object.contains("validation_loss")) {
    record.validation_loss = number(object, "validation_loss");
  }
  record.verified = object.value("verified", Json(false)) == true;
  if (object.contains("bad_rows")) record.bad_rows = count(object, "bad_rows");
  if (object.contains("changes")) {
    for (const Json& change : object["changes"])
      record.changes.push_back(run_change_from_json(change));
  }
  const Json phases = object_at(object, "phases");
  for (size_t i = 0; i < kPhases; ++i) {
    if (phases.contains(kPhaseNames[i])) record.phase_seconds[i] = number(phases, kPhaseNames[i]);
  }
  const Json categories = object_at(object, "categories");
  for (const auto& [name, draws] : categories.items()) {
    record.category_draws[name] = count(categories, name.c_str());
  }
  const Json losses = object_at(object, "category_losses");
  for (const auto& [name, loss] : losses.items())
    record.category_losses[name] = number(losses, name.c_str());
  if (object.contains("timestep_losses")) {
    const Json& list = object["timestep_losses"];
    if (!list.is_array() || list.size() != kTimestepRanges)
      throw DataError("\"timestep_losses\" should be a list of 4 numbers");
    for (size_t i = 0; i < kTimestepRanges; ++i)
      if (list[i].is_number()) record.timestep_losses[i] = list[i].get<double>();
  }
  return record;
}

}  // namespace kessoku::metrics
