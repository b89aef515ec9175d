#include "metrics/run_account.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"

namespace kessoku::metrics {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, kCauses> kCauseNames = {
    "productive", "startup", "data",       "exposed_communication",
    "checkpoint", "sample",  "validation", "verification",
    "redone",     "other",   "down"};

/// Of each phase.
constexpr Cause kCauseOf[] = {
    Cause::kData,        Cause::kProductive, Cause::kProductive, Cause::kExposedCommunication,
    Cause::kProductive,  Cause::kCheckpoint, Cause::kSample,     Cause::kValidation,
    Cause::kVerification};

static_assert(std::size(kCauseOf) == kPhases);

}  // namespace

const char* to_string(Cause cause) { return kCauseNames.at(static_cast<size_t>(cause)); }

void RunAccount::start(double time, bool complete) {
  if (starts++ == 0) {
    began = until = time;
  } else if (complete) {
    began += std::max(0.0, time - until);
    until = std::max(until, time);
  } else {
    end(time, Cause::kDown);
  }
  in_first_step = true;
}

void RunAccount::add(const StepRecord& record) {
  const double passed = std::max(0.0, record.time - until);
  const double told =
      std::accumulate(record.phase_seconds.begin(), record.phase_seconds.end(), 0.0);
  // A clock that was set must not break the sum.
  const double scale = told > passed ? passed / told : 1;
  const bool again = record.step <= furthest;
  for (size_t i = 0; i < kPhases; ++i)
    spend(again ? Cause::kRedone : kCauseOf[i], scale * record.phase_seconds[i]);
  const double rest = passed - scale * told;
  spend(in_first_step ? Cause::kStartup : again ? Cause::kRedone : Cause::kOther, rest);
  in_first_step = false;
  redone_steps += again;
  furthest = std::max(furthest, record.step);
  until += passed;
}

void RunAccount::end(double time, Cause cause) {
  const double passed = std::max(0.0, time - until);
  spend(cause, passed);
  until += passed;
}

RunAccount RunAccount::up_to(double time, Cause cause) const {
  RunAccount later = *this;
  later.end(time, cause);
  return later;
}

Json to_json(const RunAccount& account) {
  Json seconds = Json::object();
  for (size_t i = 0; i < kCauses; ++i) seconds[kCauseNames[i]] = account.seconds[i];
  return {{"began", account.began},         {"until", account.until},
          {"starts", account.starts},       {"furthest", account.furthest},
          {"redone", account.redone_steps}, {"in_first_step", account.in_first_step},
          {"seconds", std::move(seconds)}};
}

RunAccount run_account_from_json(const Json& object) {
  try {
    RunAccount account;
    account.began = object.at("began").get<double>();
    account.until = object.at("until").get<double>();
    account.starts = object.at("starts").get<uint64_t>();
    account.furthest = object.at("furthest").get<uint64_t>();
    account.redone_steps = object.at("redone").get<uint64_t>();
    account.in_first_step = object.value("in_first_step", false);
    const Json& seconds = object.at("seconds");
    for (size_t i = 0; i < kCauses; ++i) account.seconds[i] = seconds.value(kCauseNames[i], 0.0);
    return account;
  } catch (const Json::exception& error) {
    throw DataError(fmt::format("no account of a run: {}", error.what()));
  }
}

}  // namespace kessoku::metrics
