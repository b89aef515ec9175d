#include "data/quota.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <random>

#include "data/interleave.h"
#include "data/permutation.h"

namespace kessoku::data {
namespace {

double random_multiplier(std::mt19937_64& random) {
  const double log_multiplier = std::uniform_real_distribution<double>(-8, 8)(random);
  const double multiplier = std::exp(log_multiplier);
  return random() % 3 == 0 ? std::ceil(multiplier) : multiplier;
}

TEST(Quota, EachPassAndEachImageStaysWithinOneOfItsExpectation) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const double w = random_multiplier(random);
    const Quota quota(w, random());
    const uint64_t images = 1 + random() % 200;
    for (uint64_t pass = 0; pass < 50; ++pass) {
      const auto draws = static_cast<double>(quota.draws(0, images, pass));
      ASSERT_LT(std::abs(draws - static_cast<double>(images) * w), 1)
          << "w " << w << " pass " << pass;
    }
    for (uint64_t passes = 1; passes < 50; ++passes) {
      const uint64_t image = random() % images;
      const auto draws = static_cast<double>(quota.draws_before(image, image + 1, passes));
      ASSERT_LT(std::abs(draws - static_cast<double>(passes) * w), 1) << "w " << w;
    }
  }
}

TEST(Quota, TheSumOverPassesIsTheSumOfThePasses) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const Quota quota(random_multiplier(random), random());
    const uint64_t first = random() % 1000;
    const uint64_t last = first + random() % 100;
    uint64_t sum = 0;
    for (uint64_t pass = 0; pass < 60; ++pass) {
      ASSERT_EQ(quota.draws_before(first, last, pass), sum);
      sum += quota.draws(first, last, pass);
    }
  }
}

TEST(Quota, EveryDrawOfAPassBelongsToTheImageThatCountsIt) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    const Quota quota(random_multiplier(random), random());
    const uint64_t first = random() % 1000, last = first + 1 + random() % 50;
    const uint64_t pass = random() % (trial % 2 == 0 ? 10 : 1'000'000'000);
    std::map<uint64_t, uint64_t> counts;
    for (uint64_t i = 0; i < quota.draws(first, last, pass); ++i) {
      ++counts[quota.image_at(first, pass, i)];
    }
    for (uint64_t image = first; image < last; ++image) {
      ASSERT_EQ(counts[image], quota.draws(image, image + 1, pass));
    }
    ASSERT_EQ(counts.size(), last - first);
  }
}

TEST(Quota, WholeMultipliersAreDrawnExactly) {
  const Quota quota(7.0 * (1 + 2e-16), 12345);
  for (uint64_t pass = 0; pass < 1'000'000; pass += 999) EXPECT_EQ(quota.draws(5, 6, pass), 7);
}

TEST(Permutation, IsABijectionForEverySize) {
  for (const uint64_t size : {0, 1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 65535, 65536, 65537}) {
    const Permutation permutation(size, RandomStream(1, Purpose::kPassOrder, size));
    std::vector<bool> seen(size, false);
    for (uint64_t i = 0; i < size; ++i) {
      ASSERT_LT(permutation(i), size);
      seen[permutation(i)] = true;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), size);
  }
}

// χ² with 23 degrees of freedom; 49.7 is its 0.999 quantile.
TEST(Permutation, AllOrdersOfFourAreEquallyLikely) {
  std::map<std::vector<uint64_t>, double> counts;
  constexpr int kTrials = 24'000;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Permutation permutation(4, RandomStream(7, Purpose::kPassOrder, trial));
    ++counts[{permutation(0), permutation(1), permutation(2), permutation(3)}];
  }
  double chi_square = 0;
  for (const auto& [order, count] : counts) chi_square += (count - 1000) * (count - 1000) / 1000;
  EXPECT_EQ(counts.size(), 24);
  EXPECT_LT(chi_square, 49.7);
}

// Pairs that were neighbours must not stay near: the mean distance of two random places is a third
// of the size.
TEST(Permutation, SeparatesNeighbours) {
  const uint64_t size = 30'000;
  const Permutation permutation(size, RandomStream(3, Purpose::kPassOrder, 0));
  double distance = 0;
  for (uint64_t i = 0; i + 1 < size; ++i) {
    distance +=
        std::abs(static_cast<double>(permutation(i)) - static_cast<double>(permutation(i + 1)));
  }
  EXPECT_NEAR(distance / static_cast<double>(size - 1), size / 3.0, size * 0.01);
}

TEST(Interleave, TurnsGoToThePartsInProportionAtAnyTime) {
  std::mt19937_64 random(4);
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<uint64_t> weights(1 + random() % 20);
    for (uint64_t& weight : weights) weight = random() % 5 == 0 ? 0 : random() % 1'000'000;
    weights[random() % weights.size()] = 1 + random() % 1000;
    double total = 0;
    for (const uint64_t weight : weights) total += static_cast<double>(weight);
    const double bound = 1 + std::log2(static_cast<double>(weights.size())) / 2;
    const Interleave interleave(weights);
    std::vector<uint64_t> counts(weights.size(), 0);
    for (uint64_t turn = 0; turn < 2000; ++turn) {
      const auto [part, index] = interleave.at(turn);
      ASSERT_EQ(index, counts[part]++) << "a part's turns are numbered without gaps";
      ASSERT_GT(weights[part], 0);
      ASSERT_EQ(interleave.count(part, turn + 1), counts[part]);
      for (size_t i = 0; i < weights.size(); ++i) {
        const double expected =
            static_cast<double>(turn + 1) * static_cast<double>(weights[i]) / total;
        ASSERT_LT(std::abs(static_cast<double>(counts[i]) - expected), bound);
      }
    }
  }
}

TEST(Interleave, TurnsFarAwayAreFoundToo) {
  const Interleave interleave({uint64_t{1} << 60, 1, (uint64_t{1} << 59) + 12345});
  const uint64_t far = 1'000'000'000'000'000;
  for (uint64_t turn = far; turn < far + 100; ++turn) {
    const auto [part, index] = interleave.at(turn);
    EXPECT_EQ(index, interleave.count(part, turn));
    EXPECT_EQ(index + 1, interleave.count(part, turn + 1));
  }
}

}  // namespace
}  // namespace kessoku::data
