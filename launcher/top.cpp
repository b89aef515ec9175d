#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/process/terminal.h"
#include "base/text.h"
#include "launcher/commands.h"
#include "metrics/report/report_data.h"
#include "metrics/report/report_settings.h"
#include "metrics/terminal/rank_watch.h"
#include "metrics/terminal/run_view.h"
#include "metrics/wall_clock.h"
#include "runtime/checkpoint/checkpoint_folder.h"
#include "runtime/run/run_monitor.h"

namespace kessoku::launcher {

namespace {

namespace fs = std::filesystem;

metrics::ReportData settings_of(const fs::path& run) {
  metrics::ReportData data;
  data.name = fs::weakly_canonical(run).filename().string();
  if (fs::exists(run / "config.toml")) metrics::read_settings(read_file(run / "config.toml"), data);
  return data;
}

metrics::RunSurroundings surroundings_of(const fs::path& run) {
  const metrics::ReportData data = settings_of(run);
  const metrics::NewestCheckpoint newest = runtime::newest_checkpoint(run);
  return {.name = data.name,
          .planned_steps = data.planned_steps,
          .checkpoints = runtime::list_checkpoints(run).size(),
          .checkpoint_step = newest.step,
          .checkpoint_time = newest.time};
}

/// Whoever may not read the login sees that the ranks ask for it.
std::string login_in(const std::string& file) {
  try {
    return file.empty() ? "" : first_line(read_file(file));
  } catch (const Error&) {
    return "";
  }
}

metrics::RunTargets targets_of(const fs::path& run) {
  const metrics::ReportData data = settings_of(run);
  const auto setting = [&](const char* key) {
    const auto found = data.all_settings.find(key);
    return found == data.all_settings.end() ? "" : found->second;
  };
  const fs::path ranks = run / setting("metrics.file_sd");
  return {.files = {runtime::launch_targets(ranks), ranks},
          .run = data.name,
          .login = login_in(setting("metrics.login_file"))};
}

/// Ranks that are shown beside `text`, a heading and what more there are.
size_t room_beside(const std::string& text) {
  const size_t height = stdout_height();
  const auto taken = static_cast<size_t>(std::ranges::count(text, '\n')) + 4;
  return height == SIZE_MAX ? SIZE_MAX : std::max<size_t>(height, taken + 1) - taken;
}

/// From the top left corner on, over what was there.
std::string redrawn(const std::string& text) {
  std::string screen = "\x1b[H";
  for (const char c : text) screen += c == '\n' ? "\x1b[K\n" : std::string(1, c);
  return screen + "\x1b[J";
}

}  // namespace

void run(const TopOptions& options) {
  const fs::path run = options.run;
  if (!fs::exists(run / "config.toml") && !fs::exists(run / "log.jsonl")) {
    throw UsageError(
        fmt::format("top: {}: holds no run (neither config.toml nor log.jsonl); name a folder that "
                    "`kessoku train` wrote",
                    run.string()));
  }
  metrics::RunFollower follower(run);
  metrics::RankWatch ranks(targets_of(run));
  const bool once = options.once || ::isatty(STDOUT_FILENO) == 0;
  if (!once) fmt::print("\x1b[2J");
  while (true) {
    follower.poll();
    const double now = metrics::seconds_since_1970();
    std::string text = metrics::describe_run(follower, surroundings_of(run), now);
    ranks.poll(now);
    text += ranks.describe(room_beside(text));
    fmt::print("{}", once ? text : redrawn(text));
    std::fflush(stdout);
    if (once) return;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace kessoku::launcher
