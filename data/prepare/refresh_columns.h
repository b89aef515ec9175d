#pragma once

#include "data/prepare/prepare.h"

namespace kessoku::data {

struct Refresh {
  uint64_t changed = 0;  ///< examples with another caption, category or settings
  uint64_t gone = 0;     ///< that the dataset has no more: they stay as they were
  uint64_t fresh = 0;    ///< of the dataset that the store does not have
  StoreManifest manifest;
};

/// Takes captions, categories and settings of a store's examples from `dataset`, by source. Where
/// rows are affected, their shards' columns are written anew beside the rows, which stay where they
/// are; nothing counts until the returned manifest is written. Throws Error
/// (kCannotWrite).
Refresh refresh_columns(const std::filesystem::path& path, const Store& store,
                        const Dataset& dataset);

}  // namespace kessoku::data
