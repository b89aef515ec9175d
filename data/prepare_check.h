#pragma once

#include "data/fit_image.h"
#include "data/prepare.h"
#include "data/store_writer.h"

namespace kessoku::data {

/// An example that will have a row.
struct Planned {
  uint32_t example;  ///< index into Dataset::examples
  size_t bucket;     ///< index into the table
  Provenance provenance;
  std::optional<size_t> reuse;  ///< example of the old store with the same content
  std::optional<Image> image;   ///< if memory allowed to keep it
};

/// What this rank is to write.
struct Plan {
  std::vector<Planned> rows;  ///< in the order of examples
  std::vector<Skipped> skipped;
  bool unchanged =
      false;  ///< each row is in the old store with the same source, caption and category
};

/// The share of `rank`: every ranks-th example.
std::vector<uint32_t> own_examples(const Dataset& dataset, int rank, int ranks);

/// Whether rows of `old` serve the settings of `options`.
bool reusable(const StoreManifest& old, const PrepareOptions& options);

/// Reads and decodes every image of this rank's share (but for those that `old` has) and says which
/// rows there will be. `old` may be null. `threads` > 0.
Plan check_images(const Dataset& dataset, const PrepareOptions& options,
                  const std::vector<Bucket>& table, const Store* old, int threads);

}  // namespace kessoku::data
