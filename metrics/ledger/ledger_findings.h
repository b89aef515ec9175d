#pragma once

#include <string>
#include <vector>

#include "metrics/ledger/ledger.h"

namespace kessoku::metrics {

/// An image of a ledger.
struct LearntImage {
  std::string source, folder;
  LossSum losses;
  double relative = 1;  ///< loss, relative to what all images lose at the same timesteps
  /// How far its losses lie above those of its folder at the same timesteps: in standard deviations
  /// between the folder's images, and no finer than so few draws tell.
  double deviation = 0;
};

/// The losses of a folder, or of all images, over timesteps.
struct LearntFolder {
  std::string folder;
  uint64_t images = 0;
  std::array<LossSum, kLedgerBins> bins{};
  LossSum total() const;
};

/// What a ledger tells of a dataset.
struct LedgerFindings {
  uint64_t first_step = 0, step = 0;
  LearntFolder all;
  std::vector<LearntFolder> folders;  ///< by name
  /// Of images with enough draws: those that lose least and most relative to all.
  std::vector<LearntImage> best, worst;
  /// Those whose losses are far above their folder's (a deviation of 4 or more): captions that do
  /// not fit, damaged images, or what the folder has only one of. Farthest first.
  std::vector<LearntImage> suspicious;
};

/// At most `most` images in each list.
LedgerFindings examine(const Ledger& ledger, size_t most = 20);

}  // namespace kessoku::metrics
