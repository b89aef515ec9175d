#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace kessoku::metrics {

/// A figure of a progress line.
struct ProgressFigure {
  std::string key;   ///< in JSON; empty: only text
  double value = 0;  ///< in JSON
  std::string text;  ///< e.g. "loss 0.123"; empty: only JSON
};

/// A line on stderr for long work: count, rate and time left. On a terminal it is redrawn in place
/// and stays below other lines; elsewhere, and in JSON, a line every ten seconds, later every
/// minute, and one at the end. Not for concurrent use.
class Progress {
 public:
  /// `what` e.g. "train", `unit` e.g. "steps"; `start` is what was done before (resume). Shows
  /// nothing if `quiet`. `total` 0 means that it is not known.
  Progress(std::string what, std::string unit, uint64_t total, uint64_t start = 0,
           bool quiet = false);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  ///< shows the last state and ends the line
  /// Figures follow the rate, the most important one first: a narrow terminal leaves out the last.
  /// Cheap: draws at most ten times a second.
  void update(uint64_t done, std::vector<ProgressFigure> figures = {});

 private:
  void draw();
  std::string what_, unit_;
  uint64_t total_, start_, done_;
  bool quiet_, live_;
  bool shown_ = false;  ///< the last state is on the screen
  std::vector<ProgressFigure> figures_;
  std::chrono::steady_clock::time_point began_, drawn_;
};

/// What a progress line tells.
struct ProgressState {
  std::string what, unit;
  uint64_t total = 0, start = 0, done = 0;
  double seconds = 0;  ///< that the work from `start` to `done` took
  std::vector<ProgressFigure> figures{};
};

/// The text of such a line, e.g. "train  1200/48000 steps  2.5 %  4.10 steps/s  3 h 10 min left
/// loss 0.123". What does not fit into `width` columns is left out: the percentage, then figures
/// from the last.
std::string progress_line(const ProgressState& state, size_t width = SIZE_MAX);

/// "9 s", "3 min 20 s", "3 h 10 min", "2 d 4 h".
std::string format_duration(double seconds);

/// "812 kB", "1.2 GB".
std::string format_bytes(uint64_t bytes);

}  // namespace kessoku::metrics
