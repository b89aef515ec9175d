#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "data/captions/caption_parts.h"

namespace kessoku::data {

/// Replaces whole words (or runs of words), in the order of `renames`: "Bfan2" → "Bofa2" leaves
/// "Bfan22" and "xBfan2" alone. Letters, digits, "_" and all non-ASCII bytes make words. Case
/// counts.
std::string rename_words(std::string caption,
                         const std::vector<std::pair<std::string, std::string>>& renames);

/// Shuffles the tags; the first part stays first, as in EveryDream2. If tags differ in weight, the
/// next one is drawn in proportion to the weights of those left. `longest` > 0: no more tags once
/// the caption has so many characters.
std::vector<CaptionPart> shuffle_tags(std::vector<CaptionPart> parts, uint32_t longest,
                                      RandomStream random);

}  // namespace kessoku::data
