// Small trees of categories and rows for the tests of mixture and sampler.
#pragma once

#include <cmath>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "data/sampling/mixture.h"

namespace kessoku::data {

struct TestFolder {
  std::string path;
  size_t images;
  double multiply = 1;
};

struct TestTree {
  std::vector<Category> categories;
  std::vector<Row> rows;
  uint32_t buckets = 1;
  std::vector<double> multiply{};  ///< by example, if they have multipliers of their own
  std::set<uint64_t> held_out{};

  /// Keeps a reference to the tree.
  Examples examples() const {
    Examples examples{.size = rows.size()};
    for (uint32_t bucket = 0; bucket < buckets; ++bucket) examples.groups.push_back({bucket});
    examples.at = [this](uint64_t i) -> ExampleKey {
      const uint32_t category = rows[i].category;
      const double folders = category < categories.size() ? categories[category].multiply : 1;
      return {category, rows[i].bucket, multiply.empty() ? folders : multiply[i],
              held_out.contains(i)};
    };
    return examples;
  }
  uint32_t index(const std::string& path) const {
    for (uint32_t i = 0; i < categories.size(); ++i) {
      if (categories[i].path == path) return i;
    }
    throw std::out_of_range(path);
  }
};

/// Folders in the order given (the root is added), image i of all in bucket i · 7 % buckets.
inline TestTree make_tree(const std::vector<TestFolder>& folders, uint32_t buckets = 1) {
  TestTree tree;
  tree.buckets = buckets;
  if (folders.empty() || folders[0].path != ".") tree.categories.push_back({.path = "."});
  for (const TestFolder& folder : folders) {
    tree.categories.push_back({.path = folder.path, .multiply = folder.multiply});
    const auto category = static_cast<uint32_t>(tree.categories.size() - 1);
    for (size_t i = 0; i < folder.images; ++i) {
      const uint64_t number = tree.rows.size();
      tree.rows.push_back({.shard = 0,
                           .bucket = static_cast<uint32_t>(number * 7 % buckets),
                           .row = number,
                           .category = category});
    }
  }
  return tree;
}

/// Up to 12 folders in two levels, 0 to 30 images each, weights from 0 to 50, rows in random
/// buckets. In a third of the trees some images have multipliers of their own.
inline TestTree random_tree(std::mt19937& random, uint32_t buckets) {
  const auto below = [&](uint32_t bound) { return static_cast<uint32_t>(random() % bound); };
  std::vector<TestFolder> folders{{".", below(3)}};
  for (uint32_t parent = 0; parent <= below(4); ++parent) {
    const std::string path = fmt::format("p{}", parent);
    folders.push_back({path, 1 + below(30), 0.01 * (1 + below(300))});
    for (uint32_t child = 0; child < below(4); ++child) {
      folders.push_back({fmt::format("{}/c{}", path, child), below(30),
                         below(6) == 0 ? 0.0 : 0.01 * (1 + below(5000))});
    }
  }
  TestTree tree = make_tree(folders, buckets);
  for (Row& row : tree.rows) row.bucket = below(buckets);
  if (below(3) == 0) {
    for (const Row& row : tree.rows) {
      const double own[] = {0, 0.25, 1, 3.5};
      const double folders_multiply = tree.categories[row.category].multiply;
      tree.multiply.push_back(below(3) == 0 ? own[below(4)] : folders_multiply);
    }
  }
  return tree;
}

/// The same with multipliers over 18 powers of ten.
inline TestTree huge_tree(std::mt19937& random, uint32_t buckets) {
  TestTree tree = random_tree(random, buckets);
  tree.multiply.clear();
  std::uniform_real_distribution<double> exponent(-9, 9);
  for (Category& category : tree.categories)
    category.multiply = random() % 8 == 0 ? 0 : std::pow(10, exponent(random));
  tree.categories[tree.rows[0].category].multiply = 1;
  return tree;
}

}  // namespace kessoku::data
