#include "metrics/terminal/run_view.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "metrics/html.h"
#include "metrics/progress.h"
#include "metrics/rank_pace.h"
#include "metrics/terminal/account_summary.h"

namespace kessoku::metrics {

namespace {

/// A run without a step for so long, in seconds and in usual steps, is not going on.
constexpr double kSilence = 60, kSilentSteps = 20;

std::string ago(double now, double time) {
  return format_duration(std::max(0.0, now - time)) + " ago";
}

/// Means over the last steps of the process that took them.
struct Pace {
  double loss = NAN, step_seconds = NAN, samples_per_second = NAN;
  RankPace ranks;
};

Pace pace_of(const RunFollower& run) {
  Pace pace;
  double losses = 0, finite = 0, first = 0, draws = 0, steps = 0;
  for (const StepRecord& record : run.recent()) {
    if (std::isfinite(record.loss)) losses += record.loss, ++finite;
    if (record.time <= run.entry().time && !run.entry().ended) continue;  // of an earlier process
    if (record.rank_seconds.size() > 1) pace.ranks.add(record.rank_seconds);
    if (first == 0) {
      first = record.time;
      draws = static_cast<double>(record.draws);
      steps = static_cast<double>(record.step);
    }
  }
  if (finite > 0) pace.loss = losses / finite;
  if (!run.last()) return pace;
  const double seconds = run.last()->time - first;
  if (first > 0 && seconds > 0 && static_cast<double>(run.last()->step) > steps) {
    pace.step_seconds = seconds / (static_cast<double>(run.last()->step) - steps);
    pace.samples_per_second = (static_cast<double>(run.last()->draws) - draws) / seconds;
  }
  return pace;
}

std::string state_of(const RunFollower& run, const Pace& pace, double now) {
  const AccountEntry& entry = run.entry();
  if (entry.account.starts == 0) return "not started";
  if (entry.ended) {
    return fmt::format("{} {}", entry.complete ? "complete" : "stopped", ago(now, entry.time));
  }
  const double last = std::max(entry.account.until, entry.time);
  const double usual = std::isnan(pace.step_seconds) ? 0 : pace.step_seconds;
  if (now - last > std::max(kSilence, kSilentSteps * usual))
    return "no step for " + format_duration(now - last);
  return entry.account.in_first_step ? "starting" : "training";
}

std::string progress_of(const RunFollower& run, const RunSurroundings& surroundings,
                        const Pace& pace) {
  const uint64_t step = run.last() ? run.last()->step : 0, planned = surroundings.planned_steps;
  std::string text = fmt::format("step {}", step);
  if (planned == 0) return text;
  text += fmt::format(" of {}, {:.1f} %", planned,
                      100 * static_cast<double>(step) / static_cast<double>(planned));
  if (!run.entry().ended && planned > step && !std::isnan(pace.step_seconds)) {
    text += fmt::format(", {} left",
                        format_duration(pace.step_seconds * static_cast<double>(planned - step)));
  }
  return text;
}

std::string ranks_of(const AccountEntry& entry, const RankPace& pace) {
  std::string text = counted(static_cast<uint64_t>(entry.ranks), "rank") +
                     (entry.hosts > 1 ? fmt::format(" on {} hosts", entry.hosts) : "");
  size_t slowest = 0;
  for (size_t rank = 0; rank < static_cast<size_t>(entry.ranks); ++rank)
    if (pace.against_others(rank) > pace.against_others(slowest)) slowest = rank;
  if (pace.against_others(slowest) >= 1.1) {
    text += fmt::format("; rank {} takes {:.2f} times as long as the others", slowest,
                        pace.against_others(slowest));
  }
  return text;
}

}  // namespace

std::string describe_run(const RunFollower& run, const RunSurroundings& surroundings, double now) {
  const Pace pace = pace_of(run);
  const AccountEntry& entry = run.entry();
  std::string text = fmt::format("{}: {}, {}\n", surroundings.name, state_of(run, pace, now),
                                 progress_of(run, surroundings, pace));
  const auto line = [&](const char* title, const std::string& content) {
    text += fmt::format("  {:<12} {}\n", title, content);
  };
  if (run.last()) {
    const StepRecord& last = *run.last();
    line("loss", fmt::format("{} in the mean of the last {}; gradient norm {}, learning rate {}",
                             short_number(pace.loss), counted(run.recent().size(), "step"),
                             short_number(last.grad_norm), short_number(last.lr)));
    if (!std::isnan(pace.step_seconds)) {
      line("pace",
           fmt::format("{} s a step, {} samples/s; last step {}", short_number(pace.step_seconds),
                       short_number(pace.samples_per_second), ago(now, last.time)));
    }
  }
  if (entry.account.until > entry.account.began) {
    line("time", fmt::format("{}: {}", format_duration(entry.account.until - entry.account.began),
                             describe_shares({}, entry.account)));
  }
  line("checkpoint",
       surroundings.checkpoint_time == 0
           ? "none yet"
           : fmt::format("step {}, {}; {} kept", surroundings.checkpoint_step,
                         ago(now, surroundings.checkpoint_time), surroundings.checkpoints));
  if (entry.ranks > 0) line("ranks", ranks_of(entry, pace.ranks));
  if (entry.account.starts > 1) {
    line("starts", fmt::format("{}, {} repeated", entry.account.starts,
                               counted(entry.account.redone_steps, "step")));
  }
  return text;
}

}  // namespace kessoku::metrics
