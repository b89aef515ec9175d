#pragma once

#include <functional>
#include <mutex>
#include <set>

#include "data/sampling/sampler.h"

namespace kessoku::data {

/// Reads the rows of draws. One that is damaged ends the run, or its draw goes to another example.
/// Safe for concurrent use.
class RowReader {
 public:
  /// The examples of its shape that may stand in for the draw's, best first.
  using Substitutes = std::function<std::vector<uint32_t>(const Draw&)>;
  /// Told once an example what is wrong with its row.
  using OnBadRow = std::function<void(const std::string& problem)>;

  /// Reads rows of `kinds`. Without `on_bad_row` a damaged one ends the run.
  RowReader(const Store& store, std::vector<Kind> kinds, Substitutes substitutes,
            OnBadRow on_bad_row);

  /// Reads into `rows`, one tensor a kind (see Store::read). Throws DataError naming the row.
  void read(Draw& draw, int64_t variant, const std::vector<at::Tensor>& rows) const;

 private:
  bool try_read(uint32_t example, int64_t variant, const std::vector<at::Tensor>& rows) const;

  const Store& store_;
  std::vector<Kind> kinds_;
  Substitutes substitutes_;
  OnBadRow on_bad_row_;
  mutable std::mutex mutex_;
  mutable std::set<uint32_t> bad_;  // examples that cannot be read
};

}  // namespace kessoku::data
