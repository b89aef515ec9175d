#include "runtime/supervision/watchdog.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <regex>

#include "base/exit_code.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process/process.h"
#include "base/process/stderr_line.h"

namespace kessoku::runtime {

namespace {

using Clock = CollectiveLog::Clock;
using nlohmann::json;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

std::filesystem::path file_of(const std::filesystem::path& folder, int rank) {
  return folder / fmt::format("rank-{:05}.json", rank);
}

std::vector<std::filesystem::path> list_reports(const std::filesystem::path& folder) {
  static const std::regex name(R"(rank-\d+\.json)");
  std::vector<std::filesystem::path> reports;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(folder, absent)) {
    if (std::regex_match(entry.path().filename().string(), name)) reports.push_back(entry.path());
  }
  return reports;
}

/// Times are seconds before now.
json describe(const Communicator& communicator) {
  const Clock::time_point now = Clock::now();
  json operations = json::array();
  for (const CollectiveLog::Operation& operation : communicator.log()->newest()) {
    json entry{{"number", operation.number},
               {"name", operation.name},
               {"bytes", operation.bytes},
               {"asked", seconds_between(operation.asked, now)}};
    if (operation.begun) entry["begun"] = seconds_between(*operation.begun, now);
    if (operation.done) entry["done"] = seconds_between(*operation.done, now);
    operations.push_back(std::move(entry));
  }
  return {{"rank", communicator.rank()},
          {"host", host_name()},
          {"process", ::getpid()},
          {"last_done", communicator.log()->last_done()},
          {"operations", std::move(operations)}};
}

/// What the ranks' files tell about who is behind.
std::string name_those_behind(const std::filesystem::path& folder, int ranks) {
  std::map<int, uint64_t> done;
  std::map<int, std::string> hosts;
  std::vector<int> silent;
  uint64_t furthest = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    try {
      const std::filesystem::path file = file_of(folder, rank);
      const json report = parse_json(read_file(file), file.string());
      done[rank] = report.at("last_done").get<uint64_t>();
      hosts[rank] = report.at("host").get<std::string>();
      furthest = std::max(furthest, done[rank]);
    } catch (const std::exception&) {  // not there, or half of it
      silent.push_back(rank);
    }
  }
  std::string text;
  if (!silent.empty())
    text += fmt::format(" rank {} says nothing: stopped, dead or out of reach;",
                        fmt::join(silent, ", "));
  for (const auto& [rank, last] : done) {
    if (last < furthest)
      text += fmt::format(" rank {} on {} is behind: {} exchanges done of {};", rank, hosts[rank],
                          last, furthest);
  }
  if (text.empty()) text = " all ranks wait: the network, or a bug in Kessoku;";
  return text;
}

}  // namespace

std::filesystem::path watchdog_reports(const std::filesystem::path& run) {
  return run / "watchdog";
}

bool has_watchdog_reports(const std::filesystem::path& run) {
  return !list_reports(watchdog_reports(run)).empty();
}

void set_aside_watchdog_reports(const std::filesystem::path& run) {
  const std::vector<std::filesystem::path> reports = list_reports(watchdog_reports(run));
  if (reports.empty()) return;
  const std::filesystem::path previous = watchdog_reports(run) / "previous";
  std::error_code ignored;
  std::filesystem::remove_all(previous, ignored);
  std::filesystem::create_directories(previous, ignored);
  for (const auto& report : reports)
    std::filesystem::rename(report, previous / report.filename(), ignored);
  // One that stays would be taken for the next start's.
  for (const auto& report : list_reports(watchdog_reports(run)))
    std::filesystem::remove(report, ignored);
}

Watchdog::Watchdog(const Communicator& communicator, const std::filesystem::path& run,
                   double timeout)
    : communicator_(communicator), folder_(watchdog_reports(run)), timeout_(timeout) {
  std::error_code ignored;
  std::filesystem::remove(file_of(folder_, communicator_.rank()), ignored);
  if (timeout_ > 0 && communicator_.size() > 1) thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::watch() {
  const std::chrono::duration<double> tick(std::min(1.0, timeout_ / 4));
  double waited = 0;
  Clock::time_point last_tick = Clock::now();
  std::optional<Clock::time_point> awaited;
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, tick, [this] { return closing_; })) {
    const Clock::time_point now = Clock::now();
    // A longer tick means that this process was stopped meanwhile, as the others may have been.
    const double passed = std::min(seconds_between(last_tick, now), 2 * tick.count());
    last_tick = now;
    const auto since = communicator_.log()->waiting_since();
    waited = since && since == awaited ? waited + passed : 0;
    awaited = since;
    if (waited > timeout_) expire(waited);
  }
}

void Watchdog::expire(double seconds) const {
  std::error_code ignored;
  std::filesystem::create_directories(folder_, ignored);
  try {
    write_file_atomically(file_of(folder_, communicator_.rank()),
                          describe(communicator_).dump(1) + "\n");
  } catch (const std::exception& error) {
    write_error(error.what());
  }
  // The others' clocks run out within a few ticks too.
  std::this_thread::sleep_for(std::chrono::duration<double>(std::min(3.0, timeout_)));
  write_error(
      fmt::format("an exchange has taken over {:.0f} s (communication.timeout_seconds):{} the last "
                  "operations are in {}",
                  seconds, name_those_behind(folder_, communicator_.size()), folder_.string()));
  std::_Exit(static_cast<int>(ExitCode::kWatchdog));
}

}  // namespace kessoku::runtime
