#include "data/sampling/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "base/error.h"
#include "tests/data/sampling/reference_tree.h"

namespace kessoku::data {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

// A random dataset with its sampler.
struct Scenario {
  TestTree tree;
  Mixture mixture;
  SamplerOptions options;

  Sampler sampler() const { return Sampler(tree.examples(), mixture, options); }
  /// The leaf of an example; none if it is never drawn.
  std::optional<uint32_t> leaf(uint64_t example) const {
    return mixture.leaf_of(tree.examples().at(example));
  }
  /// Probability of an example.
  double share(uint64_t example) const {
    const auto own = leaf(example);
    return own ? mixture.leaves[*own].share / static_cast<double>(mixture.leaves[*own].images) : 0;
  }
  double expected(const Sampler& sampler, const Leaf& leaf) const {
    return static_cast<double>(sampler.pass_draws()) * leaf.share;
  }
};

Scenario random_scenario(uint32_t seed) {
  std::mt19937 random(seed);
  Scenario scenario;
  scenario.tree = random_tree(random, 1 + random() % 5);
  scenario.mixture =
      resolve_mixture(scenario.tree.categories, scenario.tree.examples(),
                      random() % 2 == 0 ? MixtureRules{} : MixtureRules{{"p*", 3.7}, {"p0", 0.9}});
  scenario.options = {.seed = seed, .global_batch = 1 + random() % 40};
  // Half of the scenarios have passes of their own length: multipliers below and above 1.
  if (random() % 2 == 0) scenario.options.pass_draws = 1 + random() % 500;
  return scenario;
}

Scenario huge_scenario(uint32_t seed) {
  std::mt19937 random(seed);
  Scenario scenario;
  scenario.tree = huge_tree(random, 1 + random() % 5);
  scenario.mixture =
      resolve_mixture(scenario.tree.categories, scenario.tree.examples(),
                      random() % 2 == 0 ? MixtureRules{} : MixtureRules{{"p*", 1e9}, {"p0", 1e-9}});
  scenario.options = {.seed = seed, .global_batch = 1 + random() % 40};
  if (random() % 2 == 0) scenario.options.pass_draws = 1 + random() % 500;
  return scenario;
}

Scenario simple_scenario(const std::vector<TestFolder>& folders, uint32_t buckets,
                         SamplerOptions options, const MixtureRules& rules = {}) {
  Scenario scenario{.tree = make_tree(folders, buckets), .mixture = {}, .options = options};
  scenario.mixture = resolve_mixture(scenario.tree.categories, scenario.tree.examples(), rules);
  return scenario;
}

using Key = std::tuple<uint64_t, uint64_t, uint32_t, uint32_t>;

std::vector<Key> keys(const std::vector<Draw>& draws) {
  std::vector<Key> result;
  for (const Draw& draw : draws)
    result.emplace_back(draw.number, draw.pass, draw.example, draw.bucket);
  return result;
}

// Each bucket's draws in order, until every bucket that has draws is past pass `passes`; draws of
// later passes left out.
std::map<uint32_t, std::vector<Draw>> streams(Sampler& sampler, uint64_t passes,
                                              uint64_t most_steps = 20'000'000) {
  std::map<uint32_t, std::vector<Draw>> result;
  std::set<uint32_t> waiting;
  for (uint32_t b = 0; b < sampler.group_share().size(); ++b) {
    if (sampler.group_share()[b] > 0) waiting.insert(b);
  }
  for (uint64_t step = 0; !waiting.empty() && step < most_steps; ++step) {
    for (const Draw& draw : sampler.step(step)) {
      if (draw.pass >= passes) waiting.erase(draw.bucket);
      if (draw.pass < passes) result[draw.bucket].push_back(draw);
    }
  }
  EXPECT_THAT(waiting, IsEmpty()) << "these buckets did not come to the end of pass " << passes;
  return result;
}

// Runs `check` on many random mixtures.
void for_random_scenarios(const std::function<void(const Scenario&)>& check) {
  for (uint32_t seed = 0; seed < 120 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("random scenario {}", seed));
    check(random_scenario(seed));
  }
}

// Runs `check` on many mixtures of weights from 1e-9 to 1e9.
void for_huge_scenarios(const std::function<void(const Scenario&)>& check) {
  for (uint32_t seed = 0; seed < 120 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("huge scenario {}", seed));
    check(huge_scenario(seed));
  }
}

constexpr uint64_t kPasses = 12;

TEST(RandomMixtures, EveryLeafGetsItsShareOfAnyNumberOfPassesWithinOneDraw) {
  for_random_scenarios([](const Scenario& scenario) {
    Sampler sampler = scenario.sampler();
    const std::vector<Leaf>& leaves = scenario.mixture.leaves;
    std::vector<std::vector<double>> draws(kPasses, std::vector<double>(leaves.size(), 0));
    for (const auto& [bucket, stream] : streams(sampler, kPasses)) {
      for (const Draw& draw : stream) ++draws[draw.pass][scenario.leaf(draw.example).value()];
    }
    for (size_t i = 0; i < leaves.size(); ++i) {
      double sum = 0;
      for (uint64_t pass = 0; pass < kPasses; ++pass) {
        const double expected = scenario.expected(sampler, leaves[i]);
        sum += draws[pass][i];
        ASSERT_LT(std::abs(draws[pass][i] - expected), 1) << "pass " << pass << " leaf " << i;
        ASSERT_LT(std::abs(sum - static_cast<double>(pass + 1) * expected), 1) << "leaf " << i;
      }
    }
  });
}

TEST(RandomMixtures, EveryImageGetsItsShareOfAnyNumberOfPassesWithinOneDraw) {
  for_random_scenarios([](const Scenario& scenario) {
    Sampler sampler = scenario.sampler();
    std::vector<std::vector<double>> counts(kPasses,
                                            std::vector<double>(scenario.tree.rows.size(), 0));
    for (const auto& [bucket, stream] : streams(sampler, kPasses)) {
      for (const Draw& draw : stream) ++counts[draw.pass][draw.example];
    }
    for (size_t example = 0; example < scenario.tree.rows.size(); ++example) {
      const double w = static_cast<double>(sampler.pass_draws()) * scenario.share(example);
      double sum = 0;
      for (uint64_t pass = 0; pass < kPasses; ++pass) {
        sum += counts[pass][example];
        ASSERT_LT(std::abs(counts[pass][example] - w), 1) << "example " << example << " w " << w;
        ASSERT_LT(std::abs(sum - static_cast<double>(pass + 1) * w), 1) << "example " << example;
      }
    }
  });
}

// Walks a window of steps from `first` on and holds each bucket's stream against the shares: of
// folders and images, within and of what is weight 0.
void expect_even(const Scenario& scenario, uint64_t first, uint64_t draws, double folder_bound,
                 double image_bound) {
  Sampler sampler = scenario.sampler();
  const auto& rows = scenario.tree.rows;
  std::map<std::pair<uint32_t, uint32_t>, double> share, counts;  // by bucket and category
  std::vector<double> by_image(rows.size(), 0), by_bucket(scenario.tree.buckets, 0);
  for (uint64_t i = 0; i < rows.size(); ++i)
    share[{rows[i].bucket, rows[i].category}] += scenario.share(i);
  for (uint64_t step = first; (step - first) * scenario.options.global_batch < draws; ++step) {
    for (const Draw& draw : sampler.step(step)) {
      ASSERT_GT(scenario.share(draw.example), 0) << "a weight of 0 was drawn";
      ++counts[{draw.bucket, rows[draw.example].category}];
      ++by_image[draw.example];
      const double seen = ++by_bucket[draw.bucket];
      const double of_bucket = sampler.group_share()[draw.bucket];
      for (auto place = share.lower_bound({draw.bucket, 0});
           place != share.end() && place->first.first == draw.bucket; ++place) {
        ASSERT_NEAR(counts[place->first], seen * place->second / of_bucket, folder_bound)
            << "category " << place->first.second << " after " << seen << " draws of the bucket";
      }
    }
  }
  for (uint64_t i = 0; i < rows.size(); ++i) {
    if (scenario.share(i) == 0) continue;
    const double of_bucket = sampler.group_share()[rows[i].bucket];
    ASSERT_NEAR(by_image[i], by_bucket[rows[i].bucket] * scenario.share(i) / of_bucket,
                image_bound);
  }
}

TEST(RandomMixtures, AtAnyTimeFoldersAndImagesHadTheirShareOfTheirBucketsDraws) {
  for_random_scenarios([](const Scenario& s) { expect_even(s, 0, 5000, 14, 10); });
  for_random_scenarios([](const Scenario& s) { expect_even(s, 1'000'000'007, 2000, 28, 20); });
}

TEST(HugeRatios, AtAnyTimeFoldersAndImagesHadTheirShareOfTheirBucketsDraws) {
  for_huge_scenarios([](const Scenario& s) { expect_even(s, 0, 5000, 14, 10); });
  for_huge_scenarios([](const Scenario& s) { expect_even(s, 1'000'000'007, 2000, 28, 20); });
}

TEST(HugeRatios, AnyOrderOfCallsGivesTheSameDraws) {
  for_huge_scenarios([](const Scenario& scenario) {
    std::mt19937_64 random(scenario.options.seed);
    Sampler walking = scenario.sampler(), jumping = scenario.sampler();
    for (int i = 0; i < 20; ++i) {
      const uint64_t step = random() % 1'000'000'000'000;
      jumping.step(random() % 1'000'000'000'000);
      walking.step(step);
      ASSERT_EQ(keys(walking.step(step + 1)), keys(jumping.step(step + 1)));
    }
  });
}

TEST(RandomMixtures, AStepHasGDrawsOfOneBucketNumberedInOrder) {
  for_random_scenarios([](const Scenario& scenario) {
    Sampler sampler = scenario.sampler();
    for (uint64_t step = 0; step < 50; ++step) {
      const std::vector<Draw> draws = sampler.step(step);
      ASSERT_EQ(draws.size(), scenario.options.global_batch);
      for (size_t i = 0; i < draws.size(); ++i) {
        ASSERT_EQ(draws[i].number, step * draws.size() + i);
        ASSERT_EQ(draws[i].bucket, draws[0].bucket);
        ASSERT_EQ(scenario.tree.rows[draws[i].example].bucket, draws[i].bucket);
      }
    }
  });
}

// So no step drops, repeats or reorders a draw: with G = 1 every draw is a step of its own.
TEST(RandomMixtures, ABucketsStreamIsTheSameHoweverItIsCutIntoSteps) {
  for_random_scenarios([](const Scenario& scenario) {
    Sampler whole = scenario.sampler();
    Scenario cut_fine = scenario;
    cut_fine.options.global_batch = 1;
    Sampler single = cut_fine.sampler();
    std::map<uint32_t, std::vector<uint32_t>> cut, uncut;
    for (const auto& [bucket, stream] : streams(whole, 5)) {
      for (const Draw& draw : stream) cut[bucket].push_back(draw.example);
    }
    for (const auto& [bucket, stream] : streams(single, 5)) {
      for (const Draw& draw : stream) uncut[bucket].push_back(draw.example);
    }
    EXPECT_EQ(cut, uncut);
  });
}

TEST(RandomMixtures, AnyOrderOfCallsGivesTheSameDraws) {
  for_random_scenarios([](const Scenario& scenario) {
    Sampler walking = scenario.sampler();
    std::vector<std::vector<Key>> walked;
    for (uint64_t step = 0; step < 120; ++step) walked.push_back(keys(walking.step(step)));
    std::mt19937 random(scenario.options.seed);
    Sampler jumping = scenario.sampler();
    for (int i = 0; i < 60; ++i) {
      const uint64_t step = random() % 120;
      ASSERT_EQ(keys(jumping.step(step)), walked[step]) << "step " << step;
    }
    Sampler fresh = scenario.sampler();
    EXPECT_EQ(keys(fresh.step(119)), walked[119]);
  });
}

TEST(RandomMixtures, AFarStepIsTheSameReachedFromNearAndFromAfar) {
  for_random_scenarios([](const Scenario& scenario) {
    const uint64_t far = 1'000'000'000ull + scenario.options.seed;
    Sampler walking = scenario.sampler();
    for (uint64_t step = far - 30; step < far; ++step) walking.step(step);
    Sampler fresh = scenario.sampler();
    EXPECT_EQ(keys(walking.step(far)), keys(fresh.step(far)));
  });
}

TEST(RandomMixtures, BucketsTakeTheirShareOfTheSteps) {
  for_random_scenarios([](const Scenario& scenario) {
    Sampler sampler = scenario.sampler();
    std::vector<double> share(scenario.tree.buckets, 0), steps(scenario.tree.buckets, 0);
    for (uint64_t i = 0; i < scenario.tree.rows.size(); ++i)
      share[scenario.tree.rows[i].bucket] += scenario.share(i);
    constexpr uint64_t kSteps = 500;
    for (uint64_t step = 0; step < kSteps; ++step) ++steps[sampler.step(step)[0].bucket];
    for (uint32_t b = 0; b < scenario.tree.buckets; ++b) {
      EXPECT_NEAR(sampler.group_share()[b], share[b], 1e-9);
      EXPECT_NEAR(steps[b], kSteps * share[b], 3);
    }
  });
}

TEST(Sampler, EqualImagesAreDrawnOncePerPass) {
  const Scenario scenario = simple_scenario({{"a", 49}}, 3, {.seed = 1, .global_batch = 5});
  Sampler sampler = scenario.sampler();
  EXPECT_EQ(sampler.pass_draws(), 49);
  std::map<std::pair<uint64_t, uint32_t>, int> counts;
  for (const auto& [bucket, stream] : streams(sampler, 20)) {
    for (const Draw& draw : stream) ++counts[{draw.pass, draw.example}];
  }
  EXPECT_EQ(counts.size(), 20 * 49);
  for (const auto& [key, count] : counts) EXPECT_EQ(count, 1);
}

TEST(Sampler, TheDefaultPassDrawsTheRarestImageOnce) {
  const Scenario scenario =
      simple_scenario({{"a", 10}, {"b", 30}}, 1, {.seed = 1, .global_batch = 4}, {{"a", 3.0}});
  Sampler sampler = scenario.sampler();
  EXPECT_EQ(sampler.pass_draws(), 120);
  std::vector<int> counts(40, 0);
  for (const auto& [bucket, stream] : streams(sampler, 1)) {
    for (const Draw& draw : stream) ++counts[draw.example];
  }
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(counts[i], i < 10 ? 9 : 1);
}

TEST(Sampler, SeedsAndPassesDifferInTheirOrder) {
  Scenario scenario = simple_scenario({{"a", 100}}, 1, {.seed = 1, .global_batch = 100});
  const auto examples = [](Sampler sampler, uint64_t step) {
    std::vector<uint32_t> result;
    for (const Draw& draw : sampler.step(step)) result.push_back(draw.example);
    return result;
  };
  const auto first = examples(scenario.sampler(), 0);
  EXPECT_NE(first, examples(scenario.sampler(), 1));
  scenario.options.seed = 2;
  EXPECT_NE(first, examples(scenario.sampler(), 0));
}

TEST(Sampler, OneImageFillsEveryStep) {
  const Scenario scenario = simple_scenario({{"a", 1}}, 1, {.seed = 1, .global_batch = 7});
  Sampler sampler = scenario.sampler();
  for (uint64_t step = 0; step < 5; ++step) {
    const auto draws = sampler.step(step);
    for (const Draw& draw : draws) EXPECT_EQ(draw.example, 0);
    EXPECT_EQ(draws[3].pass, step * 7 + 3);
  }
}

TEST(Sampler, ABatchLargerThanABucketTakesWholePassesOfIt) {
  const Scenario scenario = simple_scenario({{"a", 10}}, 1, {.seed = 1, .global_batch = 25});
  Sampler sampler = scenario.sampler();
  std::vector<int> counts(10, 0);
  for (uint64_t step = 0; step < 2; ++step) {
    for (const Draw& draw : sampler.step(step)) ++counts[draw.example];
  }
  EXPECT_THAT(counts, testing::Each(5));
  EXPECT_THAT(sampler.warnings(1000, {}), Contains(HasSubstr("starves")));
}

TEST(Sampler, FoldersOfWeightZeroAreNeverDrawn) {
  const Scenario scenario =
      simple_scenario({{"a", 5}, {"b", 50}}, 2, {.seed = 1, .global_batch = 4}, {{"b", 0.0}});
  Sampler sampler = scenario.sampler();
  for (uint64_t step = 0; step < 200; ++step) {
    for (const Draw& draw : sampler.step(step)) EXPECT_LT(draw.example, 5);
  }
}

TEST(Sampler, HugeRatiosKeepTheirShares) {
  const Scenario scenario =
      simple_scenario({{"a", 3}, {"b", 7}}, 2, {.seed = 1, .global_batch = 8}, {{"a", 1e9}});
  Sampler sampler = scenario.sampler();
  EXPECT_EQ(sampler.pass_draws(), 7'000'000'007);
  for (uint64_t step = 0; step < 1000; ++step) {
    for (const Draw& draw : sampler.step(step)) EXPECT_LT(draw.example, 10);
  }
  EXPECT_THAT(sampler.rare_folders(1000, {}), Contains(HasSubstr("so some never")));
}

TEST(Sampler, AbsurdRatiosAreCappedWithAWarning) {
  const Scenario scenario =
      simple_scenario({{"a", 3}, {"b", 7}}, 1, {.seed = 1, .global_batch = 8}, {{"a", 1e30}});
  Sampler sampler = scenario.sampler();
  EXPECT_EQ(sampler.pass_draws(), uint64_t{1} << 40);
  EXPECT_THAT(sampler.warnings(10, {}), Contains(HasSubstr("the rarest image's share")));
  for (const Draw& draw : sampler.step(123'456)) EXPECT_LT(draw.example, 3);
}

TEST(Sampler, AHealthyRunHasNoWarnings) {
  const Scenario scenario =
      simple_scenario({{"a", 100}, {"b", 50}}, 2, {.seed = 1, .global_batch = 4});
  EXPECT_THAT(scenario.sampler().warnings(1000, {}), IsEmpty());
  EXPECT_THAT(scenario.sampler().rare_folders(1000, {}), IsEmpty());
}

TEST(Sampler, WarningsNameBucketsAndFolders) {
  Scenario scenario = simple_scenario({{"a", 1000}, {"rare", 50}}, 1,
                                      {.seed = 1, .global_batch = 4}, {{"rare", 1e-3}});
  scenario.tree.rows[0].bucket = 1;
  scenario.tree.buckets = 2;
  StoreManifest manifest;
  manifest.categories = scenario.tree.categories;
  manifest.buckets = {{512, 512}, {1024, 256}};
  EXPECT_THAT(scenario.sampler().warnings(500, manifest),
              Contains(HasSubstr("bucket 1024x256 starves")));
  EXPECT_THAT(scenario.sampler().rare_folders(500, manifest),
              Contains(HasSubstr("folder \"rare\"")));
}

TEST(Sampler, ThreadsThatPrepareItMakeNoDifference) {
  Scenario scenario = simple_scenario({{"a", 30'001}, {"b", 7}, {"b/c", 25'000}}, 3,
                                      {.seed = 1, .global_batch = 4});
  for (size_t i = 0; i < scenario.tree.rows.size(); i += 3)
    scenario.tree.rows[i].settings = scenario.tree.rows[1].settings;
  const Examples examples = scenario.tree.examples();
  scenario.mixture = resolve_mixture(scenario.tree.categories, examples, {});
  Sampler alone = scenario.sampler();
  for (const int threads : {2, 5, 64}) {
    const Mixture mixture = resolve_mixture(scenario.tree.categories, examples, {}, threads);
    EXPECT_EQ(mixture.own_share, scenario.mixture.own_share);
    EXPECT_EQ(mixture.own_examples, scenario.mixture.own_examples);
    scenario.options.threads = threads;
    Sampler sampler = scenario.sampler();
    for (uint64_t step = 0; step < 30'000; step += 7)
      ASSERT_EQ(keys(sampler.step(step)), keys(alone.step(step))) << threads << ", step " << step;
  }
  scenario.tree.rows[54'000].bucket = 9;
  EXPECT_THROW(scenario.sampler(), DataError);
}

TEST(Sampler, WrongInputIsRefused) {
  Scenario scenario = simple_scenario({{"a", 5}}, 1, {.seed = 1, .global_batch = 0});
  EXPECT_THROW(scenario.sampler(), UsageError);
  scenario.options = {.seed = 1, .global_batch = 4, .pass_draws = uint64_t{1} << 50};
  EXPECT_THROW(scenario.sampler(), UsageError);
  scenario.options.pass_draws = 0;
  scenario.tree.rows[3].bucket = 9;
  EXPECT_THROW(scenario.sampler(), DataError);
}

// Each folder's draws among the first 48,000 × 4, of its whole subtree, and each image's.
TEST(ReferenceRun, FoldersSubFoldersAndImagesGetTheirShareOfTheRun) {
  for (const uint64_t pass_draws : {0, 1000, 41'153}) {
    Scenario scenario = simple_scenario(reference_folders(), 11,
                                        {.seed = 555, .global_batch = 4, .pass_draws = pass_draws},
                                        reference_rules());
    Sampler sampler = scenario.sampler();
    ASSERT_EQ(scenario.tree.rows.size(), 27'173);
    std::vector<double> by_image(scenario.tree.rows.size(), 0);
    std::map<std::string, double> by_folder;
    for (uint64_t step = 0; step < 48'000; ++step) {
      for (const Draw& draw : sampler.step(step)) {
        ++by_image[draw.example];
        const std::string& own =
            scenario.tree.categories[scenario.tree.rows[draw.example].category].path;
        for (size_t end = own.find('/'); end != own.npos; end = own.find('/', end + 1))
          ++by_folder[own.substr(0, end)];
        ++by_folder[own];
      }
    }
    for (size_t c = 1; c < scenario.tree.categories.size(); ++c) {
      const std::string& path = scenario.tree.categories[c].path;
      EXPECT_NEAR(by_folder[path], 192'000 * scenario.mixture.category_share[c], 25) << path;
    }
    EXPECT_NEAR(by_folder["screenshots"], 57'600, 25);
    EXPECT_NEAR(by_folder["fanart"], 48'000, 25);
    EXPECT_NEAR(by_folder["regularization"], 86'400, 25);
    for (size_t i = 0; i < by_image.size(); ++i)
      ASSERT_NEAR(by_image[i], 192'000 * scenario.share(i), 3.5) << "example " << i;
  }
}

}  // namespace
}  // namespace kessoku::data
