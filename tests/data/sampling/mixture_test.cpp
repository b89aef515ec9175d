#include "data/sampling/mixture.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "data/sampling/glob.h"
#include "tests/data/dataset/test_tree.h"

namespace kessoku::data {
namespace {

using testing::Contains;
using testing::DoubleNear;
using testing::HasSubstr;
using testing::IsEmpty;

Mixture resolve(const TestTree& tree, const MixtureRules& rules = {}) {
  return resolve_mixture(tree.categories, tree.examples(), rules);
}

std::string usage_error(const TestTree& tree, const MixtureRules& rules) {
  try {
    resolve(tree, rules);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Glob, OneStarStaysWithinOneLevel) {
  EXPECT_TRUE(glob_matches("a/*/c", "a/b/c"));
  EXPECT_FALSE(glob_matches("a/*/c", "a/b/b/c"));
  EXPECT_FALSE(glob_matches("*", "a/b"));
  EXPECT_TRUE(glob_matches("scr*ts", "screenshots"));
  EXPECT_TRUE(glob_matches("*", ""));
}

TEST(Glob, TwoStarsCrossLevels) {
  EXPECT_TRUE(glob_matches("**", "a/b/c"));
  EXPECT_TRUE(glob_matches("a/**", "a/b/c"));
  EXPECT_FALSE(glob_matches("a/**", "a"));
  EXPECT_TRUE(glob_matches("**/c", "a/b/c"));
  EXPECT_TRUE(glob_matches("**/c", "c"));
  EXPECT_FALSE(glob_matches("**/c", "a/xc"));
  EXPECT_TRUE(glob_matches("a/**/c", "a/c"));
}

TEST(Glob, AHostilePatternIsQuick) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "**a";
  std::string path(301, 'a');
  path.back() = 'b';
  EXPECT_FALSE(glob_matches(pattern, path));
}

TEST(Mixture, WithoutRulesImagesCountByTheirFoldersMultiply) {
  const TestTree tree = make_tree({{"a", 10, 3.0}, {"b", 20, 0.5}, {"b/c", 5, 2.0}});
  const Mixture mixture = resolve(tree);
  EXPECT_THAT(mixture.own_share[1], DoubleNear(30.0 / 50, 1e-12));
  EXPECT_THAT(mixture.own_share[2], DoubleNear(10.0 / 50, 1e-12));
  EXPECT_THAT(mixture.category_share[2], DoubleNear(20.0 / 50, 1e-12));
  EXPECT_EQ(mixture.category_share[0], 1);
  EXPECT_EQ(mixture.examples, (std::vector<uint64_t>{35, 10, 25, 5}));
  EXPECT_EQ(mixture.own_examples, (std::vector<uint64_t>{0, 10, 20, 5}));
  EXPECT_THAT(mixture.warnings, IsEmpty());
}

TEST(Mixture, WeightsAreRelativeAmongSiblingsAndMultiplyDownTheTree) {
  const TestTree tree = make_tree({{"fanart", 4},
                                   {"regularization", 100},
                                   {"screenshots", 0},
                                   {"screenshots/1", 0},
                                   {"screenshots/1/kita_ikuyo", 7},
                                   {"screenshots/1/nijika", 70},
                                   {"screenshots/2", 3}});
  const Mixture mixture = resolve(tree, {{"screenshots", 0.30},
                                         {"fanart", 0.25},
                                         {"regularization", 0.45},
                                         {"screenshots/*/kita_ikuyo", 2.0}});
  EXPECT_THAT(mixture.own_share[tree.index("fanart")], DoubleNear(0.25, 1e-12));
  EXPECT_THAT(mixture.own_share[tree.index("regularization")], DoubleNear(0.45, 1e-12));
  EXPECT_THAT(mixture.category_share[tree.index("screenshots")], DoubleNear(0.30, 1e-12));
  EXPECT_THAT(mixture.own_share[tree.index("screenshots/2")], DoubleNear(0.15, 1e-12));
  EXPECT_THAT(mixture.own_share[tree.index("screenshots/1/kita_ikuyo")], DoubleNear(0.10, 1e-12));
  EXPECT_THAT(mixture.own_share[tree.index("screenshots/1/nijika")], DoubleNear(0.05, 1e-12));
}

TEST(Mixture, AFoldersOwnImagesAreOneMoreChildOfWeightOne) {
  const TestTree tree = make_tree({{"a", 5}, {"a/x", 5}, {"a/y", 50}});
  const Mixture mixture = resolve(tree, {{"a/x", 2.0}});
  EXPECT_THAT(mixture.own_share,
              testing::ElementsAre(0, DoubleNear(0.25, 1e-12), DoubleNear(0.5, 1e-12),
                                   DoubleNear(0.25, 1e-12)));
  const Mixture named = resolve(tree, {{"a/x", 2.0}, {"a/.", 7.0}});
  EXPECT_THAT(named.own_share[1], DoubleNear(0.7, 1e-12));
}

double share_of(const Mixture& mixture, uint32_t category, double multiply) {
  const auto leaf = mixture.leaf_of({category, 0, multiply});
  return leaf ? mixture.leaves[*leaf].share / static_cast<double>(mixture.leaves[*leaf].images) : 0;
}

TEST(Mixture, ImagesMayHaveMultipliersOfTheirOwn) {
  TestTree tree = make_tree({{"a", 4, 2.0}, {"b", 6}});
  tree.multiply = {2, 2, 5, 0, 1, 1, 1, 1, 1, 1};
  const Mixture natural = resolve(tree);
  EXPECT_THAT(natural.own_share[1], DoubleNear(9.0 / 15, 1e-12));
  EXPECT_THAT(share_of(natural, 1, 5), DoubleNear(5.0 / 15, 1e-12));
  EXPECT_THAT(share_of(natural, 1, 2), DoubleNear(2.0 / 15, 1e-12));
  EXPECT_THAT(share_of(natural, 2, 1), DoubleNear(1.0 / 15, 1e-12));
  EXPECT_EQ(natural.leaf_of({1, 0, 0.0}), std::nullopt);
  EXPECT_THAT(natural.warnings, Contains(HasSubstr("multiply 0 for 1 of its 4 images")));
  const Mixture ruled = resolve(tree, {{"a", 1.0}, {"b", 3.0}});
  EXPECT_THAT(ruled.own_share[1], DoubleNear(0.25, 1e-12));
  EXPECT_THAT(share_of(ruled, 1, 5), DoubleNear(0.25 * 5 / 9, 1e-12)) << "relative in the folder";
  EXPECT_THAT(share_of(ruled, 1, 2), DoubleNear(0.25 * 2 / 9, 1e-12));
}

TEST(Mixture, HeldOutImagesLeaveTheirWeightToTheOthersOfTheirFolder) {
  TestTree tree = make_tree({{"a", 4, 2.0}, {"b", 2}});
  tree.held_out = {0, 2};
  for (const MixtureRules& rules : {MixtureRules{}, MixtureRules{{"a", 4.0}}}) {
    const Mixture mixture = resolve(tree, rules);
    EXPECT_THAT(mixture.own_share[1], DoubleNear(0.8, 1e-12));
    EXPECT_THAT(share_of(mixture, 1, 2), DoubleNear(0.4, 1e-12));
    EXPECT_EQ(mixture.leaf_of({1, 0, 2.0, true}), std::nullopt);
    EXPECT_EQ(mixture.own_examples[1], 4);
  }
}

TEST(Mixture, WeightsOfZeroAreNamed) {
  const TestTree tree = make_tree({{"a", 5}, {"a/b", 5}, {"c", 3}});
  EXPECT_THAT(resolve(tree, {{"c", 0.0}, {"a/.", 0.0}}).warnings,
              testing::ElementsAre(HasSubstr("\"a/.\" has weight 0"),
                                   HasSubstr("\"c\" has weight 0: its 3 images")));
}

TEST(Mixture, SiblingsThatItSeemsToForgetAreNamed) {
  const TestTree tree = make_tree({{"a", 5}, {"b", 5}, {"c", 3}, {"c/x", 2}});
  EXPECT_THAT(resolve(tree, {{"a", 0.3}, {"b", 0.4}}).warnings,
              testing::ElementsAre(HasSubstr("\"c\" but not it: its weight is 1, 58.8 % of all")));
  EXPECT_THAT(resolve(tree, {{"a", 30.0}, {"b", 25.0}}).warnings,
              testing::ElementsAre(HasSubstr("\"c\" but not it: its weight is 1, 1.8 %")));
  EXPECT_THAT(resolve(tree, {{"c/x", 0.5}}).warnings,
              testing::ElementsAre(HasSubstr("\"c/.\" but not it")));
  EXPECT_THAT(resolve(tree, {{"a", 0.3}, {"b", 0.4}, {"c", 0.3}}).warnings, IsEmpty());
  EXPECT_THAT(resolve(tree, {{"*", 0.3}}).warnings, IsEmpty());
  EXPECT_THAT(resolve(tree, {{"a", 2.0}}).warnings, IsEmpty()) << "relative to the others";
  EXPECT_THAT(resolve(tree, {{"a", 3.0}, {"b", 1.5}}).warnings, IsEmpty());
  EXPECT_THAT(resolve(tree, {{"a", 0.3}, {"b", 0.7}, {"c", 0.0}}).warnings,
              testing::ElementsAre(HasSubstr("\"c\" has weight 0")));
}

// The worked example of anime_screenshot_pipeline's README.
TEST(Mixture, TheDatasetMayGiveFoldersWeights) {
  TestTree tree = make_tree({{"1_character", 0},
                             {"1_character/class1", 5},
                             {"1_character/class2", 50},
                             {"others", 0},
                             {"others/class1", 500},
                             {"others/class3", 5}});
  const double weights[] = {1, 3, 4, 6, 1, 4, 1};
  for (size_t i = 0; i < tree.categories.size(); ++i) tree.categories[i].weight = weights[i];
  EXPECT_THAT(resolve(tree).own_share,
              testing::ElementsAre(0, 0, DoubleNear(0.3, 1e-12), DoubleNear(0.45, 1e-12), 0,
                                   DoubleNear(0.2, 1e-12), DoubleNear(0.05, 1e-12)));
  EXPECT_THAT(resolve(tree, {{"1_character", 1.0}}).category_share[1], DoubleNear(0.5, 1e-12))
      << "the run file has the last word";
}

TEST(Mixture, OwnImagesHaveTheWeightThatTheDatasetGivesTheirFolder) {
  TestTree tree = make_tree({{"a", 5}, {"a/b", 5}});
  tree.categories[0].weight = 1;
  tree.categories[1].weight = 3;
  tree.categories[2].weight = 1;
  EXPECT_THAT(resolve(tree).own_share[1], DoubleNear(0.75, 1e-12));
  EXPECT_THAT(resolve(tree, {{"a/.", 1.0}}).own_share[1], DoubleNear(0.5, 1e-12));
}

TEST(Mixture, TheLastMatchingRuleWins) {
  const TestTree tree = make_tree({{"a", 5}, {"b", 5}});
  EXPECT_THAT(resolve(tree, {{"a", 9.0}, {"*", 1.0}}).own_share[1], DoubleNear(0.5, 1e-12));
  EXPECT_THAT(resolve(tree, {{"*", 1.0}, {"a", 9.0}}).own_share[1], DoubleNear(0.9, 1e-12));
}

TEST(Mixture, FoldersWithNothingToDrawTakeNoShare) {
  const TestTree tree =
      make_tree({{"a", 5}, {"b", 0}, {"b/c", 0}, {"d", 5, 0.0}, {"e", 5}, {"e/f", 2}});
  const Mixture mixture = resolve(tree, {{"b", 100.0}, {"e/*", 0.0}, {"e", 3.0}});
  EXPECT_THAT(mixture.own_share, testing::ElementsAre(0, DoubleNear(0.25, 1e-12), 0, 0, 0,
                                                      DoubleNear(0.75, 1e-12), 0));
  EXPECT_THAT(mixture.warnings, Contains(HasSubstr("\"d\" has multiply 0")));
}

TEST(Mixture, AFolderWhoseChildrenAllHaveWeightZeroTakesNoShare) {
  const TestTree tree = make_tree({{"a", 5}, {"b", 0}, {"b/c", 5}});
  EXPECT_EQ(resolve(tree, {{"b/c", 0.0}, {"b", 9.0}}).own_share[1], 1);
}

TEST(Mixture, SharesAddUpToOneForRandomTrees) {
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    const TestTree tree = random_tree(random, 3);
    const MixtureRules rules =
        i % 2 == 0 ? MixtureRules{} : MixtureRules{{"p*", 1.5}, {"**/c1", 1e-6}};
    Mixture mixture;
    try {
      mixture = resolve(tree, rules);
    } catch (const UsageError&) {
      continue;  // no p0/c1 in this tree
    }
    double own = 0;
    for (const double share : mixture.own_share) own += share;
    EXPECT_THAT(own, DoubleNear(1, 1e-12));
  }
}

TEST(Mixture, ARuleThatMatchesNothingNamesTheNearestFolder) {
  const TestTree tree = make_tree({{"screenshots", 5}});
  EXPECT_THAT(usage_error(tree, {{"screenshot", 1.0}}), HasSubstr("did you mean \"screenshots\""));
}

TEST(Mixture, ImpossibleWeightsAreRefused) {
  const TestTree tree = make_tree({{"a", 5}, {"b", 5}});
  EXPECT_THAT(usage_error(tree, {{"a", -1.0}}), HasSubstr("\"a\" = -1"));
  EXPECT_THAT(usage_error(tree, {{"a", std::nan("")}}), HasSubstr("weight must be 0 or more"));
  EXPECT_THAT(usage_error(tree, {{"*", 0.0}}), HasSubstr("nothing to draw"));
  EXPECT_THAT(usage_error(make_tree({{"a", 5, 0.0}}), {}), HasSubstr("nothing is left to draw"));
}

TEST(Mixture, ADamagedStoreIsRefused) {
  TestTree tree = make_tree({{"a", 5}});
  tree.rows[2].category = 99;
  EXPECT_THROW(resolve(tree), DataError);
  tree.rows[2].category = 1;
  tree.multiply = {1, 1, std::nan(""), 1, 1};
  EXPECT_THROW(resolve(tree), DataError);
  tree.multiply.clear();
  tree.categories[1].multiply = -2;
  EXPECT_THROW(resolve(tree), DataError);
}

}  // namespace
}  // namespace kessoku::data
