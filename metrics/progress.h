#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kessoku::metrics {

/// A line on stderr for long work: count, rate and time left. On a terminal it is redrawn in place; elsewhere a plain line now and then.
class Progress {
 public:
  /// `what` e.g. "train", `unit` e.g. "steps"; `start` is what was done before (resume). Shows nothing if `quiet`.
  Progress(std::string what, std::string unit, uint64_t total, uint64_t start = 0, bool quiet = false);
  ~Progress();  ///< ends the line
  /// `note` follows the figures, e.g. "loss 0.123, 245 images/s". Cheap: draws at most ten times a second.
  void update(uint64_t done, const std::string& note = {});

 private:
  void draw(uint64_t done, const std::string& note);
  std::string what_, unit_;
  uint64_t total_, start_, done_;
  bool quiet_, terminal_;
  std::string note_;
  std::chrono::steady_clock::time_point began_, drawn_;
};

}  // namespace kessoku::metrics
