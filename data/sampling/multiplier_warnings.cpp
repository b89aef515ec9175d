#include "data/sampling/multiplier_warnings.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/text.h"

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

// Unclipped, folders of different sizes hardly have the same large multiplier, and none has the
// screenshot pipeline's limit.
void warn_of_clip(const std::vector<Leaf>& leaves, const StoreManifest& manifest,
                  std::vector<std::string>& warnings) {
  constexpr double kLarge = 10, kLimit = 100;
  const double largest = std::ranges::max_element(leaves, {}, &Leaf::multiply)->multiply;
  std::set<uint64_t> sizes;
  std::vector<std::string> folders;
  for (const Leaf& leaf : leaves) {
    if (leaf.multiply != largest) continue;
    sizes.insert(leaf.images);
    folders.push_back(fmt::format("\"{}\" ({})", manifest.categories[leaf.category].path,
                                  counted(leaf.images, "image")));
  }
  if (largest != kLimit && (largest < kLarge || sizes.size() < 2)) return;
  warnings.push_back(fmt::format(
      "the largest multiplier is {}{}, and {} {} it: if a tool clipped there (--max_multiply), "
      "that is too little; give the shares in [mixture]",
      largest, largest == kLimit ? ", where anime_screenshot_pipeline clips" : "",
      folders.size() == 1 ? folders[0]
                          : fmt::format("{} and {} more", folders[0], folders.size() - 1),
      folders.size() == 1 ? "has" : "have"));
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
