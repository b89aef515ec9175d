#pragma once

#include <atomic>

#include "base/random_access_file.h"
#include "data/store/shard_journal.h"

namespace kessoku::data {

/// Rows that need not be made again, by the content of their image: those of the store as it was,
/// and those of interrupted work.
class ReusableRows {
 public:
  /// Where a row is known from.
  struct Place {
    uint32_t origin;  ///< 0: the old store; n: the n-th work
    uint64_t row;     ///< its example, or the index of its entry
    bool from_store() const { return origin == 0; }
  };

  /// `store` may be null.
  ReusableRows(std::unique_ptr<Store> store, std::vector<InterruptedWork> works);

  bool empty() const { return index_.empty(); }
  const Store* store() const { return store_.get(); }
  const std::vector<InterruptedWork>& works() const { return works_; }

  /// The row of an image of this content in `bucket`. Of several that of `source`, if the store has
  /// it.
  std::optional<Place> find(uint64_t content, const std::string& source,
                            const Bucket& bucket) const;
  Bucket bucket(const Place& place) const;
  Provenance provenance(const Place& place) const;
  std::vector<Variant> variants(const Place& place) const;
  /// Reads and verifies. Throws DataError if the row is damaged.
  void read(const Place& place, Kind kind, int64_t variant, std::span<std::byte> out) const;
  /// Reads all kinds and variants of the old store's row. Throws DataError if one is damaged.
  void verify(const Place& place, const std::vector<Kind>& kinds) const;

 private:
  struct Known {
    uint64_t content;
    Place place;
  };

  std::unique_ptr<Store> store_;
  std::vector<InterruptedWork> works_;
  std::vector<std::unique_ptr<RandomAccessFile>> parts_;  ///< by work; null if it is gone
  std::vector<Known> index_;                              ///< sorted by content, the store's first
};

/// What decides about a row's bytes beside image and encoder, as a digest.
std::string row_settings(const std::vector<Bucket>& table, int64_t variants,
                         const std::string& other);

/// All journals in a store's folder whose rows have these settings and kinds.
std::vector<InterruptedWork> find_interrupted_works(const std::filesystem::path& store,
                                                    const std::string& settings,
                                                    const std::vector<Kind>& keep);

}  // namespace kessoku::data
