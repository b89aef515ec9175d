#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metrics/run_account.h"

namespace kessoku::metrics {

/// A process of a run started, or ended by itself.
struct AccountEntry {
  double time = 0;     ///< seconds since 1970
  RunAccount account;  ///< up to then
  int ranks = 0, hosts = 0;
  /// Seconds of its stages up to then, if it started: "program", from the process's start on,
  /// "inputs" (store and model), …
  std::vector<std::pair<std::string, double>> startup;
  bool ended = false;     ///< else it started
  bool complete = false;  ///< it ended with the run's last step
};

/// account.jsonl of a run folder, one line an entry: what log.jsonl cannot tell after a restart,
/// since records of steps that are repeated are dropped from it.
std::filesystem::path account_book_of(const std::filesystem::path& run);

/// What cannot be written costs the account a process's time: a warning, no error.
void append_to_account_book(const std::filesystem::path& run, const AccountEntry& entry);

/// All entries, the oldest first, without damaged lines.
std::vector<AccountEntry> read_account_book(const std::filesystem::path& run);

/// The newest entry, if there is one; a damaged line counts as none, and the ones before it do.
std::optional<AccountEntry> last_account_entry(const std::filesystem::path& run);

/// The account up to the last record of the log, and what its newest entry says of the end.
AccountEntry read_account(const std::filesystem::path& run);

}  // namespace kessoku::metrics
