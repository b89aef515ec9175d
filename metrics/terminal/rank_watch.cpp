#include "metrics/terminal/rank_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "metrics/html.h"
#include "metrics/progress.h"

namespace kessoku::metrics {

namespace {

constexpr double kPatience = 1, kWindow = 60;  // seconds
constexpr const char* kLaunch = "launch";

using Row = std::vector<std::string>;

/// Columns as wide as they must be; a row that is shorter ends with a text.
std::string table(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    if (row.size() != widths.size()) continue;
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format(" {:<{}} ", row[i], widths[i]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string bytes_or_dash(double bytes) {
  return bytes > 0 ? format_bytes(static_cast<uint64_t>(bytes)) : "–";
}

}  // namespace

double RankWatch::Rank::value(const std::string& series, const std::string& label) const {
  for (const Sample& sample : samples) {
    if (sample.name != series) continue;
    const auto has = [&](const auto& each) { return each.second == label; };
    if (label.empty() || std::ranges::any_of(sample.labels, has)) return sample.value;
  }
  return NAN;
}

/// Of the series whose value is 1.
std::string RankWatch::Rank::label(const std::string& series, const std::string& label_name) const {
  for (const Sample& sample : samples) {
    const auto found = sample.labels.find(label_name);
    if (sample.name == series && sample.value == 1 && found != sample.labels.end())
      return found->second;
  }
  return "–";
}

void RankWatch::poll(double now) {
  now_ = now;
  ranks_ = listed();
  std::vector<std::string> addresses;
  for (const Rank& rank : ranks_) addresses.push_back(rank.address);
  const std::vector<ScrapeAnswer> answers = fetch_metrics(addresses, targets_.login, kPatience);
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = ranks_[i];
    rank.answer = answers[i];
    if (rank.answer.status != 200) continue;
    rank.samples = parse_samples(rank.answer.page);
    // The same address may be another run's on another host, or by now.
    const auto own = [&](const Sample& sample) {
      const auto label = [&](const char* name) {
        const auto found = sample.labels.find(name);
        return found == sample.labels.end() ? "" : found->second;
      };
      return label("run") == targets_.run && label("rank") == rank.name;
    };
    std::erase_if(rank.samples, [&](const Sample& sample) { return !own(sample); });
    remember(rank);
  }
}

std::vector<RankWatch::Rank> RankWatch::listed() const {
  std::vector<Rank> found;
  for (const std::filesystem::path& file : targets_.files) {
    try {
      for (const auto& target : parse_json(read_file(file), file.string())) {
        found.push_back({.name = target.at("labels").at("rank").get<std::string>(),
                         .address = target.at("targets").at(0).get<std::string>()});
      }
    } catch (const Error&) {  // it is gone, as at the run's end, or somebody else's
    } catch (const nlohmann::json::exception&) {
    }
  }
  return found;
}

void RankWatch::remember(const Rank& rank) {
  Seen now{now_, {}};
  for (const Sample& sample : rank.samples) {
    const auto phase = sample.labels.find("phase");
    if (sample.name == "kessoku_phase_seconds_total" && phase != sample.labels.end())
      now.phases[phase->second] = sample.value;
  }
  std::deque<Seen>& seen = seen_[rank.name];
  const auto began_anew = [&](const auto& phase) {
    return phase.second > now.phases[phase.first];  // another process
  };
  if (!seen.empty() && std::ranges::any_of(seen.back().phases, began_anew)) seen.clear();
  seen.push_back(std::move(now));
  while (seen.size() > 2 && seen[1].time <= now_ - kWindow) seen.pop_front();
}

std::string RankWatch::waiting(const Rank& rank, const std::string& phase) const {
  const std::deque<Seen>& seen = seen_.at(rank.name);
  double waited = 0, all = 0;
  for (const auto& [name, seconds] : seen.back().phases) {
    const auto before = seen.front().phases.find(name);
    // The first time there is nothing before but the process's begin.
    const bool known = seen.size() > 1 && before != seen.front().phases.end();
    const double passed = seconds - (known ? before->second : 0);
    all += passed;
    if (name == phase) waited = passed;
  }
  return all > 0 ? fmt::format("{:.0f} %", 100 * waited / all) : "–";
}

std::vector<std::string> RankWatch::row(const Rank& rank) const {
  if (rank.answer.status == 401)
    return {rank.name, rank.address, "asks for the login of metrics.login_file"};
  if (rank.samples.empty()) {
    return {rank.name, rank.address,
            rank.answer.status == 0 ? "does not answer" : "is not of this run, nor of this rank"};
  }
  const double last = rank.value("kessoku_last_step_timestamp_seconds");
  return {rank.name,
          rank.label("kessoku_build_info", "host"),
          rank.label("kessoku_state", "state"),
          last > 0 ? format_duration(std::max(0.0, now_ - last)) + " ago" : "–",
          waiting(rank, "data"),
          waiting(rank, "communication"),
          fmt::format("{:.2f}", rank.value("kessoku_rank_slowness", "others")),
          fmt::format("{} of {}", short_number(rank.value("kessoku_loader_ready_batches")),
                      short_number(rank.value("kessoku_loader_capacity_batches"))),
          bytes_or_dash(rank.value("kessoku_memory_bytes", "resident")),
          bytes_or_dash(rank.value("kessoku_memory_bytes", "gpu_allocated"))};
}

std::string RankWatch::describe(size_t most) const {
  std::string text;
  std::vector<const Rank*> shown;
  for (const Rank& rank : ranks_) {
    if (rank.name != kLaunch) {
      shown.push_back(&rank);
    } else if (rank.samples.empty()) {
      text += fmt::format("  {:<12} {} {}\n", kLaunch, row(rank)[1], row(rank)[2]);
    } else {
      const double restarts = rank.value("kessoku_launch_restarts_total");
      text += fmt::format(
          "  {:<12} {}, {} of {} ranks; {}\n", kLaunch,
          rank.value("kessoku_launch_training") == 1 ? "has started" : "is about to start",
          short_number(rank.value("kessoku_launch_ranks", "used")),
          short_number(rank.value("kessoku_launch_ranks", "asked")),
          restarts > 0 ? fmt::format("{}, the last exit code was {}",
                                     counted(static_cast<uint64_t>(restarts), "restart"),
                                     short_number(rank.value("kessoku_launch_last_exit_code")))
                       : "no restart");
    }
  }
  if (shown.empty()) return text;
  const size_t listed = shown.size();
  if (listed > most) {
    std::ranges::stable_sort(shown, [](const Rank* one, const Rank* other) {
      const auto slowness = [](const Rank* rank) {
        return rank->samples.empty() ? INFINITY : rank->value("kessoku_rank_slowness", "others");
      };
      return slowness(one) > slowness(other);
    });
    shown.resize(most);
  }
  std::vector<Row> rows{{"rank", "host", "state", "last step", "waits for data", "for others",
                         "slowness", "batches", "memory", "on GPU"}};
  for (const Rank* rank : shown) rows.push_back(row(*rank));
  text += table(rows);
  if (shown.size() < listed) text += fmt::format("  and {} more\n", listed - shown.size());
  return text;
}

}  // namespace kessoku::metrics
