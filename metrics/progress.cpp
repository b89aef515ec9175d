#include "metrics/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <limits>

namespace kessoku::metrics {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kTerminalInterval{100};
constexpr std::chrono::seconds kPlainInterval{10};

size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

/// Cuts to `width` characters, so that redrawing does not leave wrapped lines behind.
std::string fit(std::string text, size_t width) {
  size_t characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool first_byte = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (first_byte && characters++ == width) {
      text.resize(i);
      break;
    }
  }
  return text;
}

/// Three digits are enough to compare rates by.
std::string format_rate(double rate) {
  if (rate >= 100) return fmt::format("{:.0f}", rate);
  return fmt::format("{:.{}f}", rate, rate >= 10 ? 1 : 2);
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

std::string progress_line(const std::string& what, const std::string& unit, uint64_t total,
                          uint64_t start, uint64_t done, double seconds, const std::string& note) {
  std::string line = fmt::format("{}  {}", what, done);
  if (total > 0) line += fmt::format("/{}", total);
  line += " " + unit;
  if (total > 0) {
    line +=
        fmt::format("  {:.1f} %", 100.0 * static_cast<double>(done) / static_cast<double>(total));
  }
  if (done > start && seconds > 0) {
    const double rate = static_cast<double>(done - start) / seconds;
    line += fmt::format("  {} {}/s", format_rate(rate), unit);
    if (total > done) {
      line += fmt::format("  {} left", format_duration(static_cast<double>(total - done) / rate));
    } else {
      line += fmt::format("  in {}", format_duration(seconds));
    }
  }
  if (!note.empty()) line += "  " + note;
  return line;
}

Progress::Progress(std::string what, std::string unit, uint64_t total, uint64_t start, bool quiet)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      start_(start),
      done_(start),
      quiet_(quiet),
      terminal_(::isatty(STDERR_FILENO) == 1),
      began_(Clock::now()),
      drawn_(began_) {
  if (terminal_) draw(start, {});  // something to look at while the first piece of work goes on
}

Progress::~Progress() {
  if (!shown_ && done_ != start_) draw(done_, note_);
  if (terminal_ && !quiet_) std::fputs("\n", stderr);
}

void Progress::update(uint64_t done, const std::string& note) {
  if (quiet_) return;
  done_ = done;
  note_ = note;
  shown_ = false;
  const auto waited = Clock::now() - drawn_;
  if (terminal_ ? waited >= kTerminalInterval : waited >= kPlainInterval) draw(done, note);
}

void Progress::draw(uint64_t done, const std::string& note) {
  if (quiet_) return;
  drawn_ = Clock::now();
  shown_ = true;
  const double seconds = std::chrono::duration<double>(drawn_ - began_).count();
  const std::string line = progress_line(what_, unit_, total_, start_, done, seconds, note);
  if (terminal_) {
    fmt::print(stderr, "\r{}\x1b[K", fit(line, terminal_width() - 1));
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  std::fflush(stderr);
}

}  // namespace kessoku::metrics
