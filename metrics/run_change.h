#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace kessoku::metrics {

/// Something that was changed before a run went on; recorded with the first step after it.
struct RunChange {
  std::string key;  ///< of the run file, or "store.rows", "store.captions" …, or "arithmetic"
  std::string before, after;  ///< values, or the store's digests
  uint64_t captions = 0;      ///< of the images in both that are others now
  uint64_t images_added = 0, images_removed = 0;
  uint64_t examples = 0;  ///< images now
};

nlohmann::ordered_json to_json(const RunChange& change);

/// The way back. Throws DataError saying what is wrong (not where).
RunChange run_change_from_json(const nlohmann::ordered_json& object);

/// "132 captions of 27,173 images, 4 images added"; empty if only the value changed.
std::string concerned(const RunChange& change);

}  // namespace kessoku::metrics
