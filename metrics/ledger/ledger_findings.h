#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "metrics/ledger/ledger.h"

namespace kessoku::metrics {

/// An image of a ledger.
struct LearnedImage {
  std::string source, folder;
  LossSum losses;
  double relative = 1;  ///< loss, relative to what all images lose at the same timesteps
  /// How far its losses lie above those of its folder at the same timesteps: in standard deviations
  /// between the folder's images, and no finer than so few draws tell.
  double deviation = 0;
};

/// The losses of a folder, or of all images, over timesteps.
struct LearnedFolder {
  std::string folder;
  uint64_t images = 0;
  std::array<LossSum, kLedgerBins> bins{};
  LossSum total() const;
};

/// What a ledger tells of a dataset.
struct LedgerFindings {
  uint64_t first_step = 0, step = 0;
  LearnedFolder all;
  std::vector<LearnedFolder> folders;  ///< by name
  /// Of images with enough draws: those that lose least and most relative to all.
  std::vector<LearnedImage> best, worst;
  /// Those whose losses are far above their folder's (a deviation of 3 or more): captions that do
  /// not fit, damaged images, or what the folder has only one of. Farthest first.
  std::vector<LearnedImage> suspicious;
};

/// At most `most` images in each list.
LedgerFindings examine(const Ledger& ledger, size_t most = 20);

/// The same of a run's newest ledger. Nothing if it has none, or with a warning if that is damaged.
std::optional<LedgerFindings> findings_of(const std::filesystem::path& run);

}  // namespace kessoku::metrics
