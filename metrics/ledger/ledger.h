#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
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
  std::string source, folder;
  std::array<LossSum, kLedgerBins> bins{};  ///< by timestep; all in the first where there is none

  LossSum total() const;
};

/// What each image of a run has lost, as trained on: weighed by SNR and loss scale where the run
/// does so. Sums are taken in the order of draws, by one process, so they have the same bits for
/// any number of ranks, and after a resume.
struct Ledger {
  uint64_t first_step = 0;  ///< it holds the steps after this one
  uint64_t step = 0;        ///< to this one
  std::vector<LedgerImage> images;

  /// `draw_losses` of the record index `images`. Losses that are not finite are left out.
  void add(const StepRecord& record);
};

/// The ledger of a run after `step`: ledger/step-NNNNNNNN.jsonl, a line about it and one for each
/// image that was drawn.
std::filesystem::path ledger_file(const std::filesystem::path& run, uint64_t step);

/// The newest one that is no later than the run's `last_step`, if it has one.
std::optional<std::filesystem::path> newest_ledger(const std::filesystem::path& run,
                                                   uint64_t last_step);

/// Removes those of other steps than `steps`.
void remove_other_ledgers(const std::filesystem::path& run, const std::vector<uint64_t>& steps);

void write_ledger(const std::filesystem::path& file, const Ledger& ledger);

/// Throws DataError naming the line if it is damaged.
Ledger read_ledger(const std::filesystem::path& file);

/// Takes the sums of `earlier` over, for the images that both have.
void continue_ledger(Ledger& ledger, const Ledger& earlier);

}  // namespace kessoku::metrics
