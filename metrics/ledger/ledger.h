#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "metrics/step_record.h"

namespace kessoku::metrics {

/// Ranges of timesteps that a ledger tells apart: 0 to 99, 100 to 199 …
inline constexpr size_t kLedgerBins = 10;

/// Losses of some draws.
struct LossSum {
  uint64_t count = 0;
  double sum = 0, squares = 0;

  void add(double loss);
  void add(const LossSum& other);
  double mean() const;    ///< NaN without draws
  double spread() const;  ///< standard deviation; NaN without draws
};

struct LedgerImage {
  std::string source, folder;               ///< UTF-8
  std::array<LossSum, kLedgerBins> bins{};  ///< by timestep; all in the first where there is none

  LossSum total() const;
};

/// What each image of a run has lost, as trained on: weighed by SNR and loss scale where the run
/// does so. Sums are taken in the order of draws, by one process, so they have the same bits for
/// any number of ranks, and after a resume.
struct Ledger {
  uint64_t first_step = 0;          ///< it holds the steps after this one
  uint64_t step = 0;                ///< to this one
  std::vector<LedgerImage> images;  ///< of the store, in its order

  /// Adds `losses`, which index `images`, of the step after `step`. Losses that are not finite are
  /// left out.
  void add(uint64_t step, const std::vector<DrawLoss>& losses);
  /// Continues `earlier`: takes over its steps, and its sums of the images that both have.
  void resume(const Ledger& earlier);
};

}  // namespace kessoku::metrics
