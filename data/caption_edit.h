#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/random.h"

namespace kessoku::data {

/// Replaces whole words (or runs of words), in the order of `renames`: "Bfan2" → "Bofa2" leaves
/// "Bfan22" and "xBfan2" alone. Letters, digits, "_" and all non-ASCII bytes make words. Case
/// counts.
std::string rename_words(std::string caption,
                         const std::vector<std::pair<std::string, std::string>>& renames);

/// Shuffles the tags of "prompt, tag, tag, …"; the first part stays first, as in EveryDream2.
std::string shuffle_tags(const std::string& caption, RandomStream random);

}  // namespace kessoku::data
