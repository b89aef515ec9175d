#pragma once

#include <filesystem>

#include "data/documents/node.h"

namespace kessoku::data {

/// The caption that anime_screenshot_pipeline would write for an image with this metadata: of its
/// second version (`.NAME_meta.json`) the caption that it holds, if any. Else characters, kind of
/// image, artist and tags, with "_" as spaces, without chance. Empty if nothing is said. Throws
/// DataError naming file and line for entries of other types.
std::string caption_from_metadata(const std::string& file, const Value& metadata);

}  // namespace kessoku::data
