#pragma once

#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "metrics/exporter/scrape.h"

namespace kessoku::metrics {

/// Where the exporters of a run are found.
struct RunTargets {
  std::vector<std::filesystem::path> files;  ///< as for Prometheus' file_sd; some may not be there
  std::string run;                           ///< its name, by which it is told from others
  std::string login;                         ///< USER:PASSWORD, or empty
};

/// The ranks of a run and its `launch`, as their exporters see them. Not for concurrent use.
class RankWatch {
 public:
  explicit RankWatch(RunTargets targets) : targets_(std::move(targets)) {}

  /// Asks all that are listed, for a second at most. `now` is in seconds since 1970.
  void poll(double now);
  /// Of `launch` a line, and of each rank another: state, time since the last step, waiting, own
  /// pace, batches, memory; or that it does not answer. Of more than `most` ranks those that do not
  /// answer and the slowest. Shares are of the last minute, in the first poll of the process's
  /// life. Empty if none is listed: the run has ended, or serves no metrics.
  std::string describe(size_t most) const;

 private:
  struct Seen {
    double time;
    std::map<std::string, double> phases;  ///< seconds since the process began
  };
  struct Rank {
    std::string name, address;
    ScrapeAnswer answer;
    std::vector<Sample> samples;  ///< empty if it does not answer, or another run does

    double value(const std::string& series, const std::string& label = "") const;
    std::string label(const std::string& series, const std::string& name) const;
  };

  std::vector<Rank> listed() const;
  void remember(const Rank& rank);
  std::vector<std::string> row(const Rank& rank) const;
  std::string waiting(const Rank& rank, const std::string& phase) const;

  RunTargets targets_;
  double now_ = 0;
  std::vector<Rank> ranks_;
  std::map<std::string, std::deque<Seen>> seen_;  ///< by rank
};

}  // namespace kessoku::metrics
