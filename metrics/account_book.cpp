#include "metrics/account_book.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "metrics/run_log.h"

namespace kessoku::metrics {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json to_json(const AccountEntry& entry) {
  Json line = {{"event", entry.ended ? "end" : "start"},
               {"time", entry.time},
               {"ranks", entry.ranks},
               {"hosts", entry.hosts},
               {"account", to_json(entry.account)}};
  for (const auto& [stage, seconds] : entry.startup) line["startup"][stage] = seconds;
  if (entry.ended) line["complete"] = entry.complete;
  return line;
}

std::optional<AccountEntry> parse(std::string_view line) {
  try {
    const Json object = parse_ordered_json(line, "account.jsonl");
    return AccountEntry{.time = object.at("time").get<double>(),
                        .account = run_account_from_json(object.at("account")),
                        .ranks = object.value("ranks", 0),
                        .hosts = object.value("hosts", 0),
                        .ended = object.at("event") == "end",
                        .complete = object.value("complete", false)};
  } catch (const DataError&) {
    return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace

fs::path account_book_of(const fs::path& run) { return run / "account.jsonl"; }

void append_to_account_book(const fs::path& run, const AccountEntry& entry) {
  std::fstream file(account_book_of(run), std::ios::in | std::ios::out | std::ios::app);
  file.seekg(-1, std::ios::end);
  const bool torn = file && file.get() != '\n';  // by a crash
  file.clear();
  file << (torn ? "\n" : "") << to_json(entry).dump() << '\n';
  file.close();
  if (!file) log_warning("{}: cannot be written", account_book_of(run).string());
}

std::vector<AccountEntry> read_account_book(const fs::path& run) {
  std::vector<AccountEntry> entries;
  std::ifstream file(account_book_of(run));
  for (std::string line; std::getline(file, line);)
    if (const auto entry = parse(line)) entries.push_back(*entry);
  return entries;
}

std::optional<AccountEntry> last_account_entry(const fs::path& run) {
  if (!fs::exists(account_book_of(run))) return std::nullopt;
  const std::string text = read_file(account_book_of(run));
  for (size_t end = text.size(); end > 0;) {
    const size_t newline = text.rfind('\n', end - 1);
    const size_t begin = newline == std::string::npos ? 0 : newline + 1;
    if (const auto entry = parse(std::string_view(text).substr(begin, end - begin))) return entry;
    end = newline == std::string::npos ? 0 : newline;
  }
  return std::nullopt;
}

AccountEntry read_account(const fs::path& run) {
  AccountEntry entry = last_account_entry(run).value_or(AccountEntry{});
  if (entry.ended || !fs::exists(run / "log.jsonl")) return entry;
  const auto newer = [&](const StepRecord& record) { return record.time > entry.time; };
  for (const StepRecord& record : read_newest_records(run / "log.jsonl", newer))
    entry.account.add(record);
  return entry;
}

}  // namespace kessoku::metrics
