#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/store.h"

namespace kessoku::data {

/// [mixture] of the run file, in its order: glob on folder paths → weight.
using MixtureRules = std::vector<std::pair<std::string, double>>;

/// The probability of each category's own images, and of each image.
struct Mixture {
  std::vector<double> category_share;  ///< by category: of its whole subtree; the root's is 1
  std::vector<double> own_share;       ///< by category: of its own images
  std::vector<uint64_t> examples;      ///< by category: in the whole subtree
  std::vector<uint64_t> own_examples;  ///< by category
  std::vector<std::string> warnings;
};

/// Without rules, p(image) ∝ multiply.txt of its folder. With rules, folder weights are relative
/// among siblings (1 where no rule matches; the last match wins) and multiply down the tree, a
/// folder's own images beside sub-folders being one more child of weight 1; images within a folder
/// are equal. `*` stays within one level, `**` crosses. Throws UsageError for a rule that matches
/// nothing, naming the nearest folder, and for negative weights or nothing left to draw.
Mixture resolve_mixture(const std::vector<Category>& categories, const std::vector<Row>& rows,
                        const MixtureRules& rules);

}  // namespace kessoku::data
