#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/sampling/sampler.h"
#include "metrics/step_record.h"

namespace kessoku::runtime {

/// Counts draws by top-level folder of the dataset, for the log and the metrics.
class DrawCounter {
 public:
  DrawCounter() = default;
  DrawCounter(const std::vector<data::Category>& categories, const std::vector<data::Row>& rows);

  size_t size() const { return names_.size(); }
  /// Adds each draw to `counts` (size() of them).
  void add(const std::vector<data::Draw>& draws, int64_t* counts) const;
  std::map<std::string, uint64_t> named(const int64_t* counts) const;
  /// Sets the mean losses by top-level folder and by range of timesteps from the draws' losses.
  void average(metrics::StepRecord& record) const;

 private:
  std::vector<std::string> names_;
  std::vector<uint32_t> of_example_;
};

}  // namespace kessoku::runtime
