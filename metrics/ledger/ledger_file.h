#pragma once

#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "metrics/ledger/ledger.h"

namespace kessoku::metrics {

/// ledger/step-NNNNNNNN.jsonl of a run: the ledger after that step (a line about it, and one for
/// each image of the store), then a line for each step that followed, until the next file begins.
/// So a run can resume from any step, whether a checkpoint on disk or one in memory.
class LedgerFile {
 public:
  /// Goes on after `ledger.step`, with a file of that step. Files of later steps are removed.
  LedgerFile(std::filesystem::path run, Ledger ledger);
  /// The next step. Not for concurrent use.
  void append(const StepRecord& record);
  /// A checkpoint of the last step begins: so does a file. What cannot be written is left out, with
  /// a warning.
  void begin();

 private:
  std::filesystem::path run_;
  Ledger ledger_;
  std::ofstream file_;
};

/// The ledger of `run` after `last_step`, or as far as its files reach. Nothing if there is none.
/// Throws DataError naming the line if it is damaged; a torn last line is left out.
std::optional<Ledger> read_ledger(const std::filesystem::path& run,
                                  uint64_t last_step = std::numeric_limits<uint64_t>::max());

/// Removes the files that no checkpoint needs. A run may resume from one of `checkpoints`, which
/// are their steps, or from any step after the newest.
void remove_old_ledgers(const std::filesystem::path& run, const std::vector<uint64_t>& checkpoints);

}  // namespace kessoku::metrics
