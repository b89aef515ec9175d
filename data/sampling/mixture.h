#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/sampling/example_index.h"

namespace kessoku::data {

/// [mixture] of the run file, in its order: glob on folder paths → weight.
using MixtureRules = std::vector<std::pair<std::string, double>>;

/// The images of one folder and one multiplier that may be drawn: equals among themselves.
struct Leaf {
  uint32_t category;
  double multiply;
  uint64_t images;
  double share;  ///< probability of all of them together
};

/// The probability of each category's own images, and of each image.
struct Mixture {
  std::vector<double> category_share;  ///< by category: of its whole subtree; the root's is 1
  std::vector<double> own_share;       ///< by category: of its own images
  std::vector<uint64_t> examples;      ///< by category: in the whole subtree
  std::vector<uint64_t> own_examples;  ///< by category
  bool by_multipliers = false;         ///< folders have no weights
  std::vector<Leaf> leaves;            ///< sorted by category, then by multiplier
  std::vector<std::string> warnings;

  /// Index into `leaves`; none for an example that is never drawn.
  std::optional<uint32_t> leaf_of(const ExampleKey& key) const;
  /// Index of the first leaf of each category, and one more entry.
  std::vector<uint32_t> first_leaf;
};

/// Without weights of folders, p(image) ∝ its multiplier. With weights, given by rules (the last
/// match wins) or else by the dataset (1 where neither says anything), they are relative among
/// siblings and multiply down the tree. A folder's own images beside sub-folders are one more
/// child: of weight 1, or of the folder's weight if the dataset gave it one. Multipliers then count
/// only among the images of one folder. Held-out images leave their weight to the others of their
/// folder. In rules `*` stays within one level, `**` crosses. `threads` count the examples.
///
/// Throws UsageError for a rule that matches nothing, naming the nearest folder, and for negative
/// weights or nothing left to draw; DataError for multipliers that are none.
Mixture resolve_mixture(const std::vector<Category>& categories, const Examples& examples,
                        const MixtureRules& rules, int threads = 1);

}  // namespace kessoku::data
