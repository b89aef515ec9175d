#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kessoku::metrics {

/// A line on stderr for long work: count, rate and time left. On a terminal it is redrawn in place;
/// elsewhere a plain line every ten seconds and one at the end. Not for concurrent use.
class Progress {
 public:
  /// `what` e.g. "train", `unit` e.g. "steps"; `start` is what was done before (resume). Shows
  /// nothing if `quiet`. `total` 0 means that it is not known.
  Progress(std::string what, std::string unit, uint64_t total, uint64_t start = 0,
           bool quiet = false);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  ///< shows the last state and ends the line
  /// `note` follows the figures, e.g. "loss 0.123, 245 samples/s". Cheap: draws at most ten times a
  /// second.
  void update(uint64_t done, const std::string& note = {});

 private:
  void draw(uint64_t done, const std::string& note);
  std::string what_, unit_;
  uint64_t total_, start_, done_;
  bool quiet_, terminal_;
  bool shown_ = false;  ///< the last state is on the screen
  std::string note_;
  std::chrono::steady_clock::time_point began_, drawn_;
};

/// The text of such a line, e.g. "train  1200/48000 steps  2.5 %  4.1 steps/s  3 h 10 min left loss
/// 0.123". `seconds` is the time that the work from `start` to `done` took.
std::string progress_line(const std::string& what, const std::string& unit, uint64_t total,
                          uint64_t start, uint64_t done, double seconds, const std::string& note);

/// "9 s", "3 min 20 s", "3 h 10 min", "2 d 4 h".
std::string format_duration(double seconds);

}  // namespace kessoku::metrics
