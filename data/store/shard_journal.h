#pragma once

#include <memory>

#include "data/store/shard_writer.h"

namespace kessoku::data {

/// A row that a part holds, as its journal tells.
struct WorkEntry {
  uint32_t group = 0;
  uint64_t row = 0;
  Provenance provenance{};
  std::vector<Variant> variants{};    ///< as many as the layout has
  std::vector<uint64_t> checksums{};  ///< by kind (in the order of ShardLayout::kept), variant
};

/// What an interrupted `prepare` left: a part of a shard, and which of its rows are there.
struct InterruptedWork {
  std::filesystem::path shard;  ///< as it would have been called
  std::string settings;         ///< of the rows, see row_settings
  std::string plan;             ///< which rows the part was to hold, where
  ShardLayout layout;
  std::vector<std::map<Kind, uint64_t>> offsets;  ///< by group: of the first row in the file
  std::vector<WorkEntry> entries;                 ///< no row twice
  uint64_t bytes = 0;                             ///< of the journal that are sound
};

/// The record of what is done while a shard is made: `<shard>.journal` beside the part. An entry is
/// added when its row is written; it carries a checksum of its own, so that a journal that was cut
/// off anywhere is good up to there, and the rows' checksums, so that rows that never reached the
/// disk are found out. `append` is safe for concurrent use.
class ShardJournal {
 public:
  /// Begins anew. `writer` is the part's. Throws Error (kCannotWrite).
  ShardJournal(const ShardWriter& writer, const std::string& settings, const std::string& plan);
  /// Goes on after what was read. Null if another process writes it.
  static std::unique_ptr<ShardJournal> resume(const InterruptedWork& work);
  ShardJournal(const ShardJournal&) = delete;
  ~ShardJournal();

  void append(const WorkEntry& entry);

 private:
  ShardJournal() = default;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The journal of the shard at `path`, as far as it is sound. Nothing if there is none, or nothing
/// of use in it.
std::optional<InterruptedWork> read_journal(const std::filesystem::path& shard);

}  // namespace kessoku::data
