#pragma once

#include "data/prepare/prepare.h"
#include "data/prepare/reusable_rows.h"

namespace kessoku::data {

/// An example that is to have a row.
struct Planned {
  uint32_t example;                            ///< index into Dataset::examples
  uint32_t bucket;                             ///< index into the table
  std::optional<uint64_t> content;             ///< content_hash, if the image was read whole
  std::optional<ReusableRows::Place> known{};  ///< the row of that content
};

/// What this rank is to write.
struct RowPlan {
  std::vector<Planned> rows;  ///< in the order of examples
  std::vector<Skipped> skipped;
  bool all_known = false;  ///< each row is in the old store, of the same source
};

/// Whether rows of `old` serve what `options` ask for. `settings` as of row_settings.
bool reusable(const StoreManifest& old, const PrepareOptions& options, const std::string& settings);

/// Finds the bucket of every image of this rank's share. Where rows are known from before images
/// are read whole, to look for theirs; else only headers are read. With `strict` images without a
/// known row are decoded, so that all bad ones are found before any is encoded.
RowPlan plan_rows(const Dataset& dataset, const PrepareOptions& options, const ReusableRows& known);

/// Whether the known rows of `plan` read as they were written.
bool known_rows_are_sound(const RowPlan& plan, const PrepareOptions& options,
                          const ReusableRows& known);

/// For an image that was bad and, looked at again, is not: the machine is at fault. Throws
/// SystemError.
[[noreturn]] void throw_readable_again(const Dataset& dataset, uint32_t example);

/// Why an image is skipped, without the path that the list names anyway.
Skipped skipped(const Dataset& dataset, uint32_t example, const std::string& reason);

}  // namespace kessoku::data
