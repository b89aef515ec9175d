#include "runtime/verification/wrong_bits.h"

#include <fmt/ranges.h>

#include <fstream>
#include <set>

#include "base/json.h"

namespace kessoku::runtime {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

fs::path file_of(const fs::path& run) { return run / "differences.jsonl"; }

std::string message(uint64_t step, const BitDifference& difference,
                    const std::vector<std::string>& hosts) {
  std::vector<std::string> named;
  for (size_t i = 0; i < difference.ranks.size(); ++i)
    named.push_back(fmt::format("{} on {}", difference.ranks[i], hosts.at(i)));
  const bool one = named.size() == 1;
  return fmt::format("wrong bits at step {}: {} of rank{} {} {}", step, difference.what,
                     one ? "" : "s", fmt::join(named, ", "),
                     one ? "are not what they should be" : "differ");
}

/// The only host of the ranks.
std::string host_in(const std::string& line) {
  const json report = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!report.is_object() || !report.contains("hosts") || !report["hosts"].is_array()) return "";
  std::set<std::string> hosts;
  for (const json& host : report["hosts"]) {
    if (host.is_string()) hosts.insert(host.get<std::string>());
  }
  return hosts.size() == 1 ? *hosts.begin() : "";
}

}  // namespace

WrongBits::WrongBits(uint64_t step, BitDifference difference, std::vector<std::string> hosts)
    : Error(ExitCode::kWrongBits, message(step, difference, hosts)),
      step_(step),
      difference_(std::move(difference)),
      hosts_(std::move(hosts)) {}

void record_difference(const fs::path& run, const WrongBits& error) {
  const json line{{"step", error.step()},
                  {"what", error.difference().what},
                  {"ranks", error.difference().ranks},
                  {"hosts", error.hosts()}};
  std::ofstream file(file_of(run), std::ios::app);
  file << line.dump(-1, ' ', false, json::error_handler_t::replace) << "\n";
}

std::vector<std::string> recorded_differences(const fs::path& run) {
  std::vector<std::string> hosts;
  std::ifstream file(file_of(run));
  for (std::string line; std::getline(file, line);) hosts.push_back(host_in(line));
  return hosts;
}

}  // namespace kessoku::runtime
