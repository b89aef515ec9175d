#include "metrics/progress.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/process/stderr_line.h"
#include "base/process/terminal.h"

namespace kessoku::metrics {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kLiveInterval{100};

/// Of days, a line each ten seconds would be tens of thousands.
Clock::duration plain_interval(Clock::duration since_start) {
  using std::chrono::seconds;
  return std::clamp<Clock::duration>(since_start / 10, seconds(10), seconds(60));
}

size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// Three digits are enough to compare rates by.
std::string format_rate(double rate) {
  if (rate >= 100) return fmt::format("{:.0f}", rate);
  return fmt::format("{:.{}f}", rate, rate >= 10 ? 1 : 2);
}

double rate_of(const ProgressState& state) {
  return state.done > state.start && state.seconds > 0
             ? static_cast<double>(state.done - state.start) / state.seconds
             : 0;
}

double seconds_left(const ProgressState& state) {
  return static_cast<double>(state.total - state.done) / rate_of(state);
}

nlohmann::ordered_json fields_of(const ProgressState& state) {
  nlohmann::ordered_json fields = {
      {"task", state.what}, {"unit", state.unit}, {"done", state.done}};
  if (state.total > 0) fields["total"] = state.total;
  if (rate_of(state) > 0) {
    fields["per_second"] = rate_of(state);
    if (state.total > state.done) fields["seconds_left"] = seconds_left(state);
  }
  for (const auto& [key, value, text] : state.figures) {
    if (key.empty()) continue;
    const bool whole = std::abs(value) < 0x1p53 && value == std::trunc(value);
    if (whole) {
      fields[key] = static_cast<int64_t>(value);
    } else {
      fields[key] = value;
    }
  }
  return fields;
}

}  // namespace

std::string format_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "unknown time";
  const auto whole = static_cast<uint64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  const uint64_t minutes = (whole + 30) / 60;
  if (minutes < 24 * 60) return fmt::format("{} h {} min", minutes / 60, minutes % 60);
  return fmt::format("{} d {} h", minutes / (24 * 60), minutes / 60 % 24);
}

std::string format_bytes(uint64_t bytes) {
  const char* units[] = {"bytes", "kB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < std::size(units); ++unit) value /= 1000;
  return fmt::format("{:.{}f} {}", value, unit > 0 && value < 100 ? 1 : 0, units[unit]);
}

std::string progress_line(const ProgressState& state, size_t width) {
  const auto& [what, unit, total, start, done, seconds, figures] = state;
  std::string line = fmt::format("{}  {}", what, done);
  if (total > 0) line += fmt::format("/{}", total);
  line += " " + unit;
  std::string share;
  if (total > 0) {
    share =
        fmt::format("  {:.1f} %", 100.0 * static_cast<double>(done) / static_cast<double>(total));
  }
  std::vector<std::string> pieces;
  if (const double rate = rate_of(state); rate > 0) {
    pieces.push_back(fmt::format("{} {}/s", format_rate(rate), unit));
    pieces.push_back(total > done ? format_duration(seconds_left(state)) + " left"
                                  : "in " + format_duration(seconds));
  }
  for (const ProgressFigure& figure : figures) {
    if (!figure.text.empty()) pieces.push_back(figure.text);
  }
  size_t needed = width_of(line) + width_of(share);
  for (const std::string& piece : pieces) needed += 2 + width_of(piece);
  if (needed > width) {
    needed -= width_of(share);
    share.clear();
  }
  for (; needed > width && !pieces.empty(); pieces.pop_back())
    needed -= 2 + width_of(pieces.back());
  line += share;
  for (const std::string& piece : pieces) line += "  " + piece;
  if (width_of(line) > width) line.resize(width);
  return line;
}

Progress::Progress(std::string what, std::string unit, uint64_t total, uint64_t start, bool quiet)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      start_(start),
      done_(start),
      quiet_(quiet),
      live_(!quiet && log_format() == LogFormat::kText && stderr_is_terminal()),
      began_(Clock::now()),
      drawn_(began_) {
  if (live_) draw();  // something to look at while the first piece of work goes on
}

Progress::~Progress() {
  if (!shown_ && done_ != start_) draw();
  if (live_) end_live_line();
}

void Progress::update(uint64_t done, std::vector<ProgressFigure> figures) {
  if (quiet_) return;
  done_ = done;
  figures_ = std::move(figures);
  shown_ = false;
  const auto now = Clock::now();
  if (now - drawn_ >= (live_ ? kLiveInterval : plain_interval(now - began_))) draw();
}

void Progress::draw() {
  if (quiet_) return;
  drawn_ = Clock::now();
  shown_ = true;
  const double seconds = std::chrono::duration<double>(drawn_ - began_).count();
  const ProgressState state{what_, unit_, total_, start_, done_, seconds, figures_};
  if (live_) {
    show_live_line(progress_line(state, terminal_width() - 1));
  } else {
    write_line(progress_line(state), fields_of(state));
  }
}

}  // namespace kessoku::metrics
