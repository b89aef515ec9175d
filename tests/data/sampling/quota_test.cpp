#include "data/sampling/quota.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <random>

#include "data/sampling/interleave.h"
#include "data/sampling/low_discrepancy_order.h"
#include "data/sampling/permutation.h"

namespace kessoku::data {
namespace {

// A leaf of some images in some buckets.
struct Leaf {
  explicit Leaf(std::mt19937_64& random) {
    const uint64_t count = 1 + random() % 5;
    for (uint64_t i = 0; i < count; ++i) parts.push_back(1 + random() % 40);
    images = std::accumulate(parts.begin(), parts.end(), uint64_t{0});
    w = std::exp(std::uniform_real_distribution<double>(-8, 8)(random));
    if (random() % 3 == 0) w = std::ceil(w);
    quota.emplace(w * static_cast<double>(images), parts, random());
  }
  /// Draws of each image before `pass`, give or take a constant of its own.
  std::vector<double> counts(uint64_t pass) const {
    std::vector<double> result;
    for (size_t part = 0; part < parts.size(); ++part) {
      const Quota::Drawn drawn = quota->drawn_before(part, pass);
      for (uint64_t i = 0; i < parts[part]; ++i)
        result.push_back(static_cast<double>(drawn.rounds + (i < drawn.begun)));
    }
    return result;
  }

  std::vector<uint64_t> parts;
  uint64_t images;
  double w;
  std::optional<Quota> quota;
};

TEST(Quota, OverAnyPassesALeafStaysWithinOneOfItsExpectation) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 500; ++trial) {
    const Leaf leaf(random);
    for (int i = 0; i < 50; ++i) {
      const uint64_t from = random() % (i % 2 == 0 ? 10 : 1'000'000'000), to = from + random() % 50;
      double draws = 0;
      for (size_t part = 0; part < leaf.parts.size(); ++part)
        draws += static_cast<double>(leaf.quota->draws(part, from, to));
      const double passes = static_cast<double>(to - from);
      ASSERT_LT(std::abs(draws - passes * static_cast<double>(leaf.images) * leaf.w), 1)
          << "w " << leaf.w << " passes " << passes;
    }
  }
}

TEST(Quota, OverAnyPassesAnImageStaysWithinOneOfItsExpectation) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 500; ++trial) {
    const Leaf leaf(random);
    for (int i = 0; i < 30; ++i) {
      const uint64_t from = random() % (i % 2 == 0 ? 10 : 1'000'000'000), to = from + random() % 50;
      const std::vector<double> before = leaf.counts(from), after = leaf.counts(to);
      for (size_t image = 0; image < before.size(); ++image) {
        const double draws = after[image] - before[image];
        ASSERT_GE(draws, 0);
        ASSERT_LT(std::abs(draws - static_cast<double>(to - from) * leaf.w), 1) << "w " << leaf.w;
      }
    }
  }
}

TEST(Quota, ThePartsOfALeafAreDrawnEvenly) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 500; ++trial) {
    const Leaf leaf(random);
    for (int i = 0; i < 30; ++i) {
      const uint64_t from = random() % 1000, to = from + random() % 50;
      for (size_t part = 0; part < leaf.parts.size(); ++part) {
        const double expected =
            static_cast<double>(to - from) * leaf.w * static_cast<double>(leaf.parts[part]);
        ASSERT_NEAR(static_cast<double>(leaf.quota->draws(part, from, to)), expected, 4.5);
      }
    }
  }
}

TEST(Quota, WholeMultipliersAreDrawnExactly) {
  const Quota quota(7.0 * 9 * (1 + 2e-16), {4, 5}, 12345);
  for (uint64_t pass = 0; pass < 1'000'000; pass += 999) {
    EXPECT_EQ(quota.draws(0, pass, pass + 1), 28);
    EXPECT_EQ(quota.drawn_before(1, pass).begun, quota.drawn_before(1, 0).begun);
  }
}

std::vector<uint64_t> order_of(const Permutation& permutation, uint64_t size, uint64_t salt) {
  std::vector<Permutation::Item> items;
  for (uint64_t i = 0; i < size; ++i) items.push_back({i, size, salt});
  permutation.apply(items);
  std::vector<uint64_t> order;
  for (const Permutation::Item& item : items) order.push_back(item.place);
  return order;
}

TEST(Permutation, IsABijectionForEverySize) {
  for (const uint64_t size : {0, 1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 65535, 65536, 65537}) {
    const Permutation permutation(size, RandomStream(1, Purpose::kPassOrder, size));
    std::vector<bool> seen(size, false);
    for (const uint64_t place : order_of(permutation, size, 99)) {
      ASSERT_LT(place, size);
      seen[place] = true;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), size);
  }
}

// χ² with 23 degrees of freedom; 49.7 is its 0.999 quantile.
void expect_equally_likely(const std::map<std::vector<uint64_t>, double>& counts, double expected) {
  double chi_square = 0;
  for (const auto& [order, count] : counts)
    chi_square += (count - expected) * (count - expected) / expected;
  EXPECT_EQ(counts.size(), 24);
  EXPECT_LT(chi_square, 49.7);
}

TEST(Permutation, AllOrdersOfFourAreEquallyLikely) {
  std::map<std::vector<uint64_t>, double> by_keys, by_salt;
  const Permutation one(1'000'000, RandomStream(7, Purpose::kPassOrder, 0));
  for (uint64_t trial = 0; trial < 24'000; ++trial) {
    const Permutation permutation(4, RandomStream(7, Purpose::kPassOrder, trial));
    ++by_keys[order_of(permutation, 4, 0)];
    ++by_salt[order_of(one, 4, mix_bits(trial))];
  }
  expect_equally_likely(by_keys, 1000);
  expect_equally_likely(by_salt, 1000);
}

// Pairs that were neighbors must not stay near: the mean distance of two random places is a third
// of the size.
TEST(Permutation, SeparatesNeighbors) {
  const uint64_t size = 30'000;
  const Permutation permutation(size, RandomStream(3, Purpose::kPassOrder, 0));
  const std::vector<uint64_t> order = order_of(permutation, size, 5);
  double distance = 0;
  for (uint64_t i = 0; i + 1 < size; ++i) {
    distance += std::abs(static_cast<double>(order[i]) - static_cast<double>(order[i + 1]));
  }
  EXPECT_NEAR(distance / static_cast<double>(size - 1), size / 3.0, size * 0.01);
}

TEST(LowDiscrepancyOrder, IsABijectionForEverySize) {
  for (const uint64_t size : {1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 64, 255, 256, 257, 65535, 65537}) {
    const LowDiscrepancyOrder spread(size, size / 3);
    std::vector<bool> seen(size, false);
    for (uint64_t i = 0; i < size; ++i) seen.at(spread(i)) = true;
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), size);
  }
}

TEST(LowDiscrepancyOrder, EveryPrefixHoldsItsShareOfEveryRange) {
  std::mt19937_64 random(8);
  for (int trial = 0; trial < 300; ++trial) {
    const uint64_t size = 1 + random() % (trial % 2 == 0 ? 100 : 20'000);
    const LowDiscrepancyOrder spread(size, random() % size);
    const uint64_t begin = random() % size, end = begin + random() % (size - begin + 1);
    const double share = static_cast<double>(end - begin) / static_cast<double>(size);
    double count = 0;
    for (uint64_t x = 0; x < size; ++x) {
      const uint64_t place = spread(x);
      count += place >= begin && place < end;
      ASSERT_LT(std::abs(count - static_cast<double>(x + 1) * share), 4) << "size " << size;
    }
  }
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
