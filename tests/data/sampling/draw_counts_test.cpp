#include "data/sampling/draw_counts.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/sampling/multiplier_warnings.h"
#include "data/sampling/validation_split.h"
#include "tests/data/sampling/reference_tree.h"
#include "tests/data/store/test_store.h"

namespace kessoku::data {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Planned {
  explicit Planned(TestTree the_tree, uint64_t draws, const MixtureRules& rules = {},
                   uint64_t pass_draws = 0)
      : tree(std::move(the_tree)), examples(tree.examples()) {
    manifest.categories = tree.categories;
    for (uint32_t i = 0; i < tree.buckets; ++i) manifest.buckets.push_back({64 + 64 * i, 64});
    mixture = resolve_mixture(tree.categories, examples, rules);
    Sampler sampler(examples, mixture, {.seed = 5, .global_batch = 4, .pass_draws = pass_draws});
    plan = count_draws(manifest, tree.rows, examples, mixture, sampler, draws);
  }
  const DrawCounts::Part& folder(const std::string& path) const {
    return plan.folders[tree.index(path)];
  }

  TestTree tree;
  Examples examples;
  StoreManifest manifest;
  Mixture mixture;
  DrawCounts plan;
};

TEST(DrawCounts, CountsDrawsAndViewsOfEachFolderAndOfAllBelowIt) {
  const Planned planned(make_tree({{"a", 2}, {"a/b", 4, 3.0}, {"c", 4}}, 2), 18 * 5);
  EXPECT_EQ(planned.folder(".").draws, 90);
  EXPECT_EQ(planned.folder("a").draws + planned.folder("c").draws, 90);
  EXPECT_EQ(planned.plan.own[1].draws + planned.folder("a/b").draws, planned.folder("a").draws);
  EXPECT_NEAR(planned.folder("a/b").draws, 60, 4);
  EXPECT_GE(planned.folder("a").fewest_views, 3);
  EXPECT_LE(planned.folder("a").most_views, 17);
  EXPECT_GE(planned.folder("a/b").fewest_views, 13);
  EXPECT_EQ(planned.plan.examples_drawn, 10);
  EXPECT_EQ(planned.plan.buckets[0].draws + planned.plan.buckets[1].draws, 90);
}

TEST(DrawCounts, NamesImagesThatAreNeverDrawn) {
  const Planned planned(make_tree({{"a", 10}, {"rare", 8}, {"zero", 3, 0.0}}), 40,
                        {{"rare", 0.01}});
  EXPECT_EQ(planned.folder("rare").never_drawn, 8 - planned.folder("rare").draws);
  EXPECT_EQ(planned.folder("zero").never_drawn, 0) << "these have no share";
  EXPECT_THAT(draw_count_warnings(planned.manifest, planned.mixture, planned.plan),
              ElementsAre(HasSubstr("folder \"rare\": ")));
}

// One image that is due once in a million draws makes passes of a million.
TEST(DrawCounts, SaysHowARunBecomesOnePassWhereImagesThatAreDueAreNotDrawn) {
  const TestTree tree = make_tree({{"a", 1000}, {"rare", 1}});
  const MixtureRules rules{{"rare", 1e-6}};
  const Planned planned(tree, 1500, rules);
  ASSERT_GT(planned.folder("a").never_drawn, 0);
  EXPECT_THAT(draw_count_warnings(planned.manifest, planned.mixture, planned.plan),
              Contains(HasSubstr("mixture.pass_draws = 1500")));
  const Planned one_pass(tree, 1500, rules, 1500);
  EXPECT_EQ(one_pass.folder("a").never_drawn, 0);
  EXPECT_THAT(draw_count_warnings(one_pass.manifest, one_pass.mixture, one_pass.plan),
              ElementsAre(HasSubstr("folder \"rare\": ")));
}

TEST(DrawCounts, ManyFoldersAreNotListedOneByOne) {
  std::vector<TestFolder> folders;
  for (int i = 0; i < 100; ++i) folders.push_back({fmt::format("{:03}", i), 5});
  const Planned planned(make_tree(folders), 4);
  const auto warnings = draw_count_warnings(planned.manifest, planned.mixture, planned.plan);
  EXPECT_EQ(warnings.size(), 11);
  EXPECT_EQ(warnings.back(), "… and 90 more folders with images that are never drawn");
}

std::vector<std::string> rounding(const std::vector<TestFolder>& folders,
                                  const MixtureRules& rules = {}) {
  const TestTree tree = make_tree(folders);
  StoreManifest manifest;
  manifest.categories = tree.categories;
  return rounding_warnings(manifest, resolve_mixture(tree.categories, tree.examples(), rules));
}

TEST(Rounding, WholeNumbersThroughoutAreSuspicious) {
  EXPECT_THAT(
      rounding({{"a", 50, 1}, {"b", 20, 3}, {"c", 9, 6}}),
      ElementsAre(testing::AllOf(HasSubstr("whole numbers"), HasSubstr("\"a\" (multiply 1)"),
                                 HasSubstr("up to 50 %"))));
  EXPECT_THAT(rounding({{"a", 50, 1}, {"b", 20, 3.02}, {"c", 9, 6.31}}), IsEmpty());
  EXPECT_THAT(rounding({{"a", 50, 1}, {"b", 20, 2}, {"c", 9, 2}}), IsEmpty()) << "a choice";
  EXPECT_THAT(rounding({{"a", 50, 1}, {"b", 20, 3}, {"c", 9, 6}}, {{"a", 1.0}}), IsEmpty())
      << "not used";
}

TEST(Rounding, TwoDecimalsOfASmallNumberAreSuspicious) {
  EXPECT_THAT(rounding({{"a", 50, 0.02}, {"b", 20, 1.37}, {"c", 9, 6.31}}),
              ElementsAre(testing::AllOf(HasSubstr("two decimals"), HasSubstr("up to 25 %"))));
}

TEST(Rounding, FoldersOfDifferentSizesAtTheLargestMultiplierLookClipped) {
  EXPECT_THAT(rounding({{"a", 500, 1}, {"b", 20, 7.31}, {"c", 9, 80}, {"d", 3, 80}}),
              ElementsAre(testing::AllOf(HasSubstr("\"c\" (9 images) and 1 more have it"),
                                         HasSubstr("clipped"))));
  EXPECT_THAT(rounding({{"a", 500, 1}, {"b", 20, 7.31}, {"c", 9, 80}, {"d", 3, 79.5}}), IsEmpty());
}

TEST(Rounding, TheLimitOfTheScreenshotPipelineLooksClipped) {
  EXPECT_THAT(rounding({{"a", 500, 1}, {"b", 20, 7.31}, {"c", 1, 100}}),
              ElementsAre(HasSubstr(
                  "100, where anime_screenshot_pipeline clips, and \"c\" (1 image) has it")));
  EXPECT_THAT(rounding({{"a", 500, 1}, {"b", 20, 7.31}, {"c", 1, 100}}, {{"a", 1.0}}), IsEmpty());
}

TEST(HoldOut, TakesAboutTheFractionOfEachFolderByContentAlone) {
  const TestStore files({Kind::kLatents});
  const Store store(files.path());
  EXPECT_THAT(hold_out(store, 0), IsEmpty());
  const std::vector<bool> quarter = hold_out(store, 0.25), half = hold_out(store, 0.5);
  ASSERT_EQ(half.size(), store.size());
  for (size_t i = 0; i < store.size(); ++i) {
    const double value =
        RandomStream(0, Purpose::kValidation, store.provenance(i).content_hash).uniform();
    EXPECT_EQ(half[i], value < 0.5) << "whatever the other images are";
    EXPECT_TRUE(half[i] || !quarter[i]) << "a larger fraction adds to the set";
  }
  EXPECT_NEAR(static_cast<double>(std::count(half.begin(), half.end(), true)), 16, 8);
}

TEST(HoldOut, LeavesEachFolderAnImageToTrainOn) {
  const TestStore files({Kind::kLatents});
  const Store store(files.path());
  const std::vector<bool> held = hold_out(store, 0.9999);
  std::vector<int> left(store.manifest().categories.size(), 0);
  for (size_t i = 0; i < store.size(); ++i) left[store.rows()[i].category] += !held[i];
  EXPECT_THAT(left, ElementsAre(0, 1, 1, 1));
  EXPECT_THROW(hold_out(store, 1), UsageError);
  EXPECT_THROW(hold_out(store, -0.1), UsageError);
}

TEST(HoldOut, HeldOutImagesAreNeverDrawnAndFoldersKeepTheirShares) {
  const TestStore files({Kind::kLatents});
  const Store store(files.path());
  const std::vector<bool> held = hold_out(store, 0.5);
  const Examples all = examples_of(store.manifest(), store.rows());
  const Examples some = examples_of(store.manifest(), store.rows(), held);
  const Mixture mixture = resolve_mixture(store.manifest().categories, some, {});
  EXPECT_EQ(mixture.own_share, resolve_mixture(store.manifest().categories, all, {}).own_share);
  Sampler sampler(some, mixture, {.seed = 1, .global_batch = 8});
  for (uint64_t step = 0; step < 100; ++step) {
    for (const Draw& draw : sampler.step(step)) EXPECT_FALSE(held[draw.example]);
  }
  const DrawCounts plan = count_draws(store.manifest(), store.rows(), some, mixture, sampler, 800);
  EXPECT_EQ(plan.folders[0].held_out, std::count(held.begin(), held.end(), true));
  EXPECT_EQ(plan.folders[0].never_drawn, 0);
}

TEST(Examples, FamiliesOfBatchesDoNotShareSteps) {
  StoreManifest manifest;
  manifest.categories = {{.path = "."}};
  manifest.buckets = {{64, 64}, {128, 64}};
  manifest.settings = {{}, {.batch_id = "poses"}, {.multiply = 2, .batch_id = "poses"}};
  std::vector<Row> rows;
  for (uint32_t i = 0; i < 120; ++i) rows.push_back({0, i % 2, i, 0, i % 3});
  const Examples examples = examples_of(manifest, rows);
  const Mixture mixture = resolve_mixture(manifest.categories, examples, {});
  Sampler sampler(examples, mixture, {.seed = 1, .global_batch = 6});
  double poses = 0;
  for (uint64_t step = 0; step < 400; ++step) {
    const std::vector<Draw> draws = sampler.step(step);
    for (const Draw& draw : draws) {
      EXPECT_EQ(draw.bucket, rows[draw.example].bucket);
      EXPECT_EQ(rows[draw.example].bucket, rows[draws[0].example].bucket);
      EXPECT_EQ(rows[draw.example].settings > 0, rows[draws[0].example].settings > 0);
    }
    poses += rows[draws[0].example].settings > 0;
  }
  EXPECT_NEAR(poses, 300, 3);
  rows[7].settings = 9;
  EXPECT_THROW(examples.at(7), DataError);
}

}  // namespace
}  // namespace kessoku::data
