#include "data/rounding.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace kessoku::data {
namespace {

bool multiple_of(double value, double unit) {
  const double ratio = value / unit;
  return std::abs(ratio - std::round(ratio)) < 1e-6 && std::round(ratio) > 0;
}

// What rounding to a multiple of `unit` may have done to the smallest multiplier.
void warn_of_unit(const std::vector<Leaf>& leaves, double unit, const char* shape,
                  const StoreManifest& manifest, std::vector<std::string>& warnings) {
  const Leaf& smallest = *std::ranges::min_element(leaves, {}, &Leaf::multiply);
  const double error = unit / 2 / smallest.multiply;
  if (error < 0.05) return;
  warnings.push_back(fmt::format(
      "the multipliers of all {} folders are {}: if a tool rounded them, the mixture is bent, the "
      "share of folder \"{}\" (multiply {}) by up to {:.0f} %; write them with more decimals, or "
      "give the shares in [mixture]",
      leaves.size(), shape, manifest.categories[smallest.category].path, smallest.multiply,
      100 * error));
}

// Unclipped, folders of different sizes hardly have the same large multiplier.
void warn_of_clip(const std::vector<Leaf>& leaves, const StoreManifest& manifest,
                  std::vector<std::string>& warnings) {
  constexpr double kLarge = 10;
  const double largest = std::ranges::max_element(leaves, {}, &Leaf::multiply)->multiply;
  std::set<uint64_t> sizes;
  std::vector<const Leaf*> at_largest;
  for (const Leaf& leaf : leaves) {
    if (leaf.multiply != largest) continue;
    at_largest.push_back(&leaf);
    sizes.insert(leaf.images);
  }
  if (largest < kLarge || at_largest.size() < 2 || sizes.size() < 2) return;
  warnings.push_back(fmt::format(
      "{} folders of different sizes (\"{}\" of {} images, \"{}\" of {}) have the same largest "
      "multiplier, {}: if a tool clipped them (--max_multiply), they are drawn too seldom; give "
      "the "
      "shares in [mixture]",
      at_largest.size(), manifest.categories[at_largest.front()->category].path,
      at_largest.front()->images, manifest.categories[at_largest.back()->category].path,
      at_largest.back()->images, largest));
}

}  // namespace

std::vector<std::string> rounding_warnings(const StoreManifest& manifest, const Mixture& mixture) {
  std::vector<std::string> warnings;
  std::set<double> distinct;
  for (const Leaf& leaf : mixture.leaves) distinct.insert(leaf.multiply);
  // Repeats of kohya are whole by nature; two values are more likely a choice than a calculation.
  constexpr size_t kFew = 3;
  if (!mixture.by_multipliers || manifest.dialect == Dialect::kKohya || distinct.size() < kFew)
    return warnings;
  const auto all = [&](double unit) {
    return std::ranges::all_of(distinct, [&](double value) { return multiple_of(value, unit); });
  };
  if (all(1)) {
    warn_of_unit(mixture.leaves, 1, "whole numbers", manifest, warnings);
  } else if (all(0.01) && !all(0.05)) {
    warn_of_unit(mixture.leaves, 0.01, "rounded to two decimals", manifest, warnings);
  }
  warn_of_clip(mixture.leaves, manifest, warnings);
  return warnings;
}

}  // namespace kessoku::data
