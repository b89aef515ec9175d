#pragma once

#include <functional>

#include "data/store/store.h"

namespace kessoku::data {

/// What mixture and sampler must know of an example.
struct ExampleKey {
  uint32_t category;      ///< folder that holds the image
  uint32_t group;         ///< index into Examples::groups
  double multiply;        ///< relative weight of the image; 0 = never drawn
  bool held_out = false;  ///< for validation: never drawn
};

/// Examples that may share a step: of one shape, and of one family (batch_id) if the dataset has
/// such.
struct Group {
  uint32_t bucket;       ///< index into the manifest's buckets
  std::string family{};  ///< Settings::batch_id
};

/// The examples by number. A function and not a table: a thousand million of them need no memory.
struct Examples {
  uint64_t size = 0;
  std::vector<Group> groups;
  std::function<ExampleKey(uint64_t)> at;
};

/// Keeps references to manifest and rows. `held_out`, by example, may be empty: see
/// data/sampling/validation_split.h. `at` throws DataError for a row that does not fit the
/// manifest.
Examples examples_of(const StoreManifest& manifest, const std::vector<Row>& rows,
                     std::vector<bool> held_out = {});

}  // namespace kessoku::data
