#include "data/loading/loader.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <mutex>
#include <set>

#include "base/error.h"
#include "data/captions/caption_edit.h"
#include "data/loading/validation_set.h"
#include "data/sampling/validation_split.h"
#include "tests/data/store/test_store.h"

namespace kessoku::data {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

constexpr uint64_t kSeed = 42;

Sampler make_sampler(const Store& store, uint64_t global_batch) {
  const Examples examples = examples_of(store.manifest(), store.rows());
  const Mixture mixture = resolve_mixture(store.manifest().categories, examples, {});
  return Sampler(examples, mixture, {.seed = kSeed, .global_batch = global_batch});
}

std::span<const float> values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

// The numbers of place `i` of a batch.
std::vector<float> place_of(const at::Tensor& tensor, size_t i) {
  const std::span<const float> all = values(tensor);
  const size_t size = all.size() / static_cast<size_t>(tensor.size(0));
  return {all.begin() + i * size, all.begin() + (i + 1) * size};
}

std::vector<float> normal(Purpose purpose, uint64_t draw, size_t size) {
  std::vector<float> result(size);
  RandomStream(kSeed, purpose, draw).fill_normal(result);
  return result;
}

// All that a draw is trained on.
struct Seen {
  uint32_t example;
  std::string caption;
  int64_t timestep;
  std::vector<float> latent, noise;
  bool operator==(const Seen&) const = default;
};

class LoaderOfMoments : public testing::Test {
 protected:
  LoaderOfMoments() : files_({Kind::kMoments}), store_(files_.path()) {}

  static LoaderOptions options(uint64_t steps, uint64_t micro_batch) {
    LoaderOptions options;
    options.seed = kSeed;
    options.last_step = steps;
    options.micro_batch = micro_batch;
    return options;
  }

  // Everything that all ranks see in a run, by draw number.
  std::map<uint64_t, Seen> run(LoaderOptions options, int ranks, uint64_t global_batch) const {
    std::map<uint64_t, Seen> seen;
    options.ranks = ranks;
    const uint64_t accumulation =
        global_batch / (options.micro_batch * static_cast<uint64_t>(ranks));
    for (options.rank = 0; options.rank < ranks; ++options.rank) {
      Loader loader(store_, make_sampler(store_, global_batch), options);
      for (uint64_t i = options.first_step * accumulation; i < options.last_step * accumulation;
           ++i) {
        const Batch batch = loader.next();
        for (size_t p = 0; p < batch.draws.size(); ++p) {
          seen[batch.draws[p].number] = {batch.draws[p].example, batch.captions[p],
                                         batch.timesteps.const_data_ptr<int64_t>()[p],
                                         place_of(batch.latents, p), place_of(batch.noise, p)};
        }
      }
    }
    return seen;
  }

  // Turns a bit of an example's moments over, in the file.
  void damage(uint32_t example) const {
    const uint64_t length = std::filesystem::file_size(files_.shard());
    std::fstream shard(files_.shard(), std::ios::in | std::ios::out | std::ios::binary);
    const at::Tensor moments = at::empty(store_.shape(example, Kind::kMoments), at::kHalf);
    store_.read(example, Kind::kMoments, 0, moments);
    std::string bytes(length, '\0');
    shard.read(bytes.data(), static_cast<int64_t>(length));
    const size_t place = bytes.find(std::string(static_cast<const char*>(moments.data_ptr()), 64));
    ASSERT_NE(place, std::string::npos);
    shard.seekp(static_cast<int64_t>(place));
    shard.put(static_cast<char>(bytes[place] ^ 1)).flush();
  }

  TestStore files_;
  Store store_;
};

TEST_F(LoaderOfMoments, EveryRankMicroBatchAndThreadCountSeesTheSameDraws) {
  LoaderOptions one = options(12, 8);
  one.caption_dropout = 0.5;
  one.shuffle_tags = true;
  const std::map<uint64_t, Seen> reference = run(one, 1, 8);
  ASSERT_EQ(reference.size(), 96);
  for (const auto& [ranks, micro_batch, threads] :
       {std::tuple{1, 2, 3}, {2, 2, 2}, {2, 4, 1}, {4, 1, 3}, {8, 1, 1}}) {
    LoaderOptions other = one;
    other.micro_batch = static_cast<uint64_t>(micro_batch);
    other.threads = threads;
    EXPECT_EQ(run(other, ranks, 8), reference) << ranks << " ranks, micro-batch " << micro_batch;
  }
}

// Of a store of latents with variants: how often each was drawn, by folder.
std::map<uint32_t, std::array<int, 4>> count_variants(const Store& store, double flip) {
  LoaderOptions options;
  options.seed = kSeed;
  options.last_step = 200;
  options.micro_batch = 32;
  options.flip = flip;
  Loader loader(store, make_sampler(store, options.micro_batch), options);
  std::map<uint32_t, std::array<int, 4>> counts;
  for (uint64_t step = 0; step < options.last_step; ++step) {
    const Batch batch = loader.next();
    for (size_t p = 0; p < batch.draws.size(); ++p) {
      const std::vector<float> latent = place_of(batch.latents, p);
      const float first = latent.front() / static_cast<float>(TestStore::kScale);
      const bool plain = std::ranges::adjacent_find(latent, std::not_equal_to()) != latent.end();
      ++counts[store.rows()[batch.draws[p].example].category][plain ? 0 : std::lround(first)];
    }
  }
  return counts;
}

void expect_shares(const std::array<int, 4>& counts, const std::array<double, 4>& shares) {
  const double total = counts[0] + counts[1] + counts[2] + counts[3];
  for (size_t v = 0; v < counts.size(); ++v)
    EXPECT_NEAR(counts[v] / total, shares[v], 0.05) << "variant " << v;
}

TEST(Variants, AreMirroredAsOftenAsTheFolderOrTheRunSays) {
  const TestStore files({Kind::kLatents}, 4, 0.2);
  const Store store(files.path());
  const uint32_t kA = 1, kNever = 3;
  auto counts = count_variants(store, 0);
  expect_shares(counts[kA], {0.25, 0.25, 0.25, 0.25});
  expect_shares(counts[kNever], {0.4, 0.1, 0.4, 0.1});
  counts = count_variants(store, 0.6);
  expect_shares(counts[kA], {0.2, 0.3, 0.2, 0.3});
  expect_shares(counts[kNever], {0.4, 0.1, 0.4, 0.1});
}

TEST(Variants, AreNeverMirroredWhereTheFolderSaysSo) {
  const TestStore files({Kind::kLatents}, 3, 0.0);
  const Store store(files.path());
  expect_shares(count_variants(store, 0.9)[3], {0.5, 0, 0.5, 0});
}

TEST(Variants, OfPixelsAreNotMirroredAgainWhenTheyAreDrawn) {
  const TestStore files({Kind::kImages}, 2, 1.0);
  const Store store(files.path());
  LoaderOptions options;
  options.seed = kSeed;
  options.last_step = 4;
  options.micro_batch = 8;
  options.images = true;
  Loader loader(store, make_sampler(store, options.micro_batch), options);
  for (uint64_t step = 0; step < options.last_step; ++step) {
    const Batch batch = loader.next();
    for (size_t p = 0; p < batch.draws.size(); ++p) {
      const uint32_t example = batch.draws[p].example;
      if (store.rows()[example].category != 3) continue;
      const at::Tensor row = at::empty(store.shape(example, Kind::kImages), at::kByte);
      store.read(example, Kind::kImages, 1, row);
      EXPECT_EQ(place_of(batch.images, p).front(),
                static_cast<float>(*row.const_data_ptr<uint8_t>()) / 127.5f - 1.0f);
    }
  }
}

TEST_F(LoaderOfMoments, EverySplitOfTheGlobalBatchSeesTheSameDraws) {
  const uint64_t global_batch = 24;
  const std::map<uint64_t, Seen> reference = run(options(4, 24), 1, global_batch);
  ASSERT_EQ(reference.size(), 4 * global_batch);
  for (int ranks = 1; ranks <= 24; ++ranks) {
    for (uint64_t micro_batch = 1; micro_batch <= 24; ++micro_batch) {
      if (global_batch % (micro_batch * static_cast<uint64_t>(ranks)) != 0) continue;
      ASSERT_EQ(run(options(4, micro_batch), ranks, global_batch), reference)
          << ranks << " ranks, micro-batch " << micro_batch;
    }
  }
}

TEST_F(LoaderOfMoments, ARunThatBeginsLaterGoesOnAsIfItHadNotStopped) {
  const std::map<uint64_t, Seen> whole = run(options(12, 4), 1, 4);
  LoaderOptions rest = options(12, 4);
  rest.first_step = 7;
  for (const auto& [number, seen] : run(rest, 1, 4)) EXPECT_EQ(seen, whole.at(number));
}

TEST_F(LoaderOfMoments, RanksTakeConsecutiveMicroBatches) {
  LoaderOptions second = options(2, 3);
  second.rank = 1;
  second.ranks = 2;
  Loader loader(store_, make_sampler(store_, 12), second);
  for (const uint64_t first : {6, 9, 18, 21}) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.step, first / 12);
    EXPECT_EQ(batch.micro, (first % 12 - 6) / 3);
    for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(batch.draws[i].number, first + i);
  }
}

TEST_F(LoaderOfMoments, LatentsAreScaledSamplesOfTheMoments) {
  Loader loader(store_, make_sampler(store_, 4), options(10, 4));
  for (int step = 0; step < 10; ++step) {
    const Batch batch = loader.next();
    EXPECT_TRUE(batch.latents.is_contiguous());
    for (size_t p = 0; p < 4; ++p) {
      const uint32_t example = batch.draws[p].example;
      const at::Tensor moments = at::empty(store_.shape(example, Kind::kMoments), at::kHalf);
      store_.read(example, Kind::kMoments, 0, moments);
      const std::vector<float> latent = place_of(batch.latents, p);
      const std::vector<float> random =
          normal(Purpose::kVaeSample, batch.draws[p].number, latent.size());
      for (size_t i = 0; i < latent.size(); ++i) {
        const float mean = moments.const_data_ptr<at::Half>()[i];
        ASSERT_NEAR(latent[i], (mean + 0.5f * random[i]) * TestStore::kScale, 1e-3);
      }
    }
  }
}

TEST_F(LoaderOfMoments, NoiseIsUnitNormalAndTheDrawsOwn) {
  Loader loader(store_, make_sampler(store_, 8), options(100, 8));
  double sum = 0, squares = 0, count = 0;
  for (int step = 0; step < 100; ++step) {
    const Batch batch = loader.next();
    EXPECT_EQ(batch.noise.sizes(), batch.latents.sizes());
    for (size_t p = 0; p < 8; ++p) {
      const std::vector<float> noise = place_of(batch.noise, p);
      EXPECT_EQ(noise, normal(Purpose::kNoise, batch.draws[p].number, noise.size()));
      for (const float value : noise) {
        sum += value;
        squares += value * value;
      }
      count += static_cast<double>(noise.size());
    }
  }
  EXPECT_NEAR(sum / count, 0, 5 / std::sqrt(count));
  EXPECT_NEAR(squares / count, 1, 5 * std::sqrt(2 / count));
}

TEST_F(LoaderOfMoments, TimestepsAreUniform) {
  LoaderOptions few = options(400, 8);
  few.timesteps = 10;
  std::vector<double> counts(10, 0);
  for (const auto& [number, seen] : run(few, 1, 8)) ++counts.at(static_cast<size_t>(seen.timestep));
  for (const double count : counts) EXPECT_NEAR(count, 320, 5 * std::sqrt(320.0 * 0.9));
}

TEST_F(LoaderOfMoments, CaptionsAreDroppedAtTheRunsRateUnlessTheFolderHasItsOwn) {
  LoaderOptions dropping = options(500, 8);
  dropping.caption_dropout = 0.3;
  double draws = 0, dropped = 0;
  for (const auto& [number, seen] : run(dropping, 1, 8)) {
    const uint32_t category = store_.rows()[seen.example].category;
    if (category == 1) {
      ++draws;
      dropped += seen.caption.empty();
    } else {
      EXPECT_EQ(seen.caption.empty(), category == 2);  // "always", else "never"
    }
  }
  EXPECT_NEAR(dropped / draws, 0.3, 5 * std::sqrt(0.21 / draws));
}

TEST_F(LoaderOfMoments, DrawsCarryTheLossScaleOfTheirImage) {
  Loader loader(store_, make_sampler(store_, 8), options(20, 8));
  std::set<float> seen;
  for (int step = 0; step < 20; ++step) {
    const Batch batch = loader.next();
    for (size_t p = 0; p < 8; ++p) {
      const bool never = store_.rows()[batch.draws[p].example].category == 3;
      EXPECT_EQ(values(batch.loss_scale)[p], never ? 0.5f : 1.0f);
      seen.insert(values(batch.loss_scale)[p]);
    }
  }
  EXPECT_EQ(seen.size(), 2);
}

TEST_F(LoaderOfMoments, CaptionsAreRenamedAndShuffled) {
  LoaderOptions renaming = options(20, 8);
  renaming.caption_rename = {{"Bfan2", "Bofa2"}, {"tag", "nothing"}};
  renaming.shuffle_tags = true;
  std::set<std::string> orders;
  for (const auto& [number, seen] : run(renaming, 1, 8)) {
    if (seen.caption.empty()) continue;
    EXPECT_THAT(seen.caption, MatchesRegex("image [0-9]+, .*"));
    EXPECT_THAT(seen.caption, HasSubstr("Bofa2"));
    EXPECT_EQ(seen.caption.size(),
              fmt::format("image {}, Bfan2, tag1, tag2, tag3", seen.example).size());
    orders.insert(seen.caption.substr(seen.caption.find(',')));
  }
  EXPECT_EQ(orders.size(), 24) << "all orders of four tags";
}

TEST_F(LoaderOfMoments, TagsThatAreToBeKeptStayBehindTheMainPrompt) {
  LoaderOptions keeping = options(20, 8);
  keeping.shuffle_tags = true;
  keeping.keep_tags = 2;
  std::set<std::string> orders;
  for (const auto& [number, seen] : run(keeping, 1, 8)) {
    if (seen.caption.empty()) continue;
    EXPECT_THAT(seen.caption, MatchesRegex("image [0-9]+, Bfan2, tag1, .*"));
    orders.insert(seen.caption.substr(seen.caption.find(',')));
  }
  EXPECT_EQ(orders.size(), 2) << "tag2 and tag3 in both orders";
}

TEST_F(LoaderOfMoments, CaptionsBecomeTokenIds) {
  LoaderOptions encoding = options(3, 4);
  encoding.threads = 2;
  encoding.encode_caption = [](const std::string& caption) {
    return EncodedCaption{std::vector<int64_t>(77, static_cast<int64_t>(caption.size()))};
  };
  Loader loader(store_, make_sampler(store_, 4), encoding);
  const Batch batch = loader.next();
  ASSERT_EQ(batch.input_ids.sizes(), (std::vector<int64_t>{4, 77}));
  for (size_t p = 0; p < 4; ++p) {
    EXPECT_EQ(batch.input_ids.const_data_ptr<int64_t>()[p * 77 + 76], batch.captions[p].size());
  }
}

TEST_F(LoaderOfMoments, CountsTheCaptionsOfTrainingThatWereCutOff) {
  LoaderOptions encoding = options(3, 4);
  encoding.encode_caption = [](const std::string&) {
    return EncodedCaption{std::vector<int64_t>(77, 0), true};
  };
  Loader loader(store_, make_sampler(store_, 4), encoding);
  for (int batch = 0; batch < 3; ++batch) EXPECT_EQ(loader.next().truncated, 4u);
  loader.read(0, 0, 0);  // as a verification does
  const ValidationSet validation(store_, std::vector<bool>(store_.size(), true), encoding);
  validation.batch(0);
  EXPECT_EQ(loader.counts()->truncated, 12u);
}

TEST_F(LoaderOfMoments, ReadsAheadNoFurtherThanAsked) {
  LoaderOptions ahead = options(1000, 4);
  ahead.threads = 3;
  ahead.prefetch = 2;
  std::atomic<int> encoded = 0;
  ahead.encode_caption = [&](const std::string&) {
    ++encoded;
    return EncodedCaption{std::vector<int64_t>(77, 0)};
  };
  Loader loader(store_, make_sampler(store_, 4), ahead);
  for (int batch = 1; batch <= 20; ++batch) {
    loader.next();
    EXPECT_LE(encoded, (batch + 2) * 4);
  }
}

TEST_F(LoaderOfMoments, CanBeDroppedInTheMiddleOfARun) {
  LoaderOptions long_run = options(1'000'000, 4);
  long_run.threads = 4;
  for (int i = 0; i < 20; ++i) {
    Loader loader(store_, make_sampler(store_, 4), long_run);
    if (i % 2 == 0) loader.next();
  }
}

TEST_F(LoaderOfMoments, PastTheLastStepIsOurBug) {
  Loader loader(store_, make_sampler(store_, 4), options(1, 4));
  loader.next();
  EXPECT_THROW(loader.next(), std::logic_error);
}

TEST_F(LoaderOfMoments, AThreadsErrorSurfacesInNext) {
  LoaderOptions failing = options(10, 4);
  failing.threads = 2;
  failing.encode_caption = [](const std::string&) -> EncodedCaption {
    throw DataError("no such token");
  };
  Loader loader(store_, make_sampler(store_, 4), failing);
  EXPECT_THROW(loader.next(), DataError);
  EXPECT_THROW(loader.next(), DataError) << "and stays";
}

TEST_F(LoaderOfMoments, ADamagedRowStopsTheRun) {
  damage(3);
  Loader loader(store_, make_sampler(store_, 4), options(100, 4));
  try {
    for (int i = 0; i < 100; ++i) loader.next();
    FAIL() << "nobody noticed";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("03.png"));
    EXPECT_THAT(error.what(), HasSubstr("data.on_bad_row"));
  }
}

TEST_F(LoaderOfMoments, DrawsOfDamagedRowsGoToSiblingsAlikeForAllRanksAndThreads) {
  const std::set<uint32_t> damaged{3, 7, 20};
  LoaderOptions skipping = options(40, 8);
  std::mutex mutex;
  std::vector<std::string> told;
  skipping.on_bad_row = [&](const std::string& problem) {
    const std::lock_guard lock(mutex);
    told.push_back(problem);
  };
  const std::map<uint64_t, Seen> whole = run(skipping, 1, 8);
  EXPECT_THAT(told, testing::IsEmpty());
  for (const uint32_t example : damaged) damage(example);
  const std::map<uint64_t, Seen> skipped = run(skipping, 1, 8);
  EXPECT_THAT(told, testing::UnorderedElementsAre(HasSubstr("03.png"), HasSubstr("07.png"),
                                                  HasSubstr("20.png")));
  std::set<uint32_t> substitutes;
  for (const auto& [number, seen] : whole) {
    const Seen& now = skipped.at(number);
    if (!damaged.contains(seen.example)) {
      EXPECT_EQ(now, seen);
      continue;
    }
    EXPECT_FALSE(damaged.contains(now.example));
    const Row &row = store_.rows()[seen.example], &other = store_.rows()[now.example];
    EXPECT_EQ(std::tie(row.category, row.bucket), std::tie(other.category, other.bucket));
    EXPECT_EQ(now.noise, seen.noise) << "still the draw's own";
    EXPECT_EQ(now.caption.empty() ? "" : store_.caption(now.example), now.caption);
    substitutes.insert(now.example);
  }
  EXPECT_GT(substitutes.size(), 4) << "no sibling takes them all";
  LoaderOptions others = skipping;
  others.micro_batch = 2;
  others.threads = 3;
  EXPECT_EQ(run(others, 2, 8), skipped);
}

TEST_F(LoaderOfMoments, WhereAllSiblingsAreDamagedOthersOfTheShapeTakeTheDraw) {
  std::set<uint32_t> damaged;
  for (uint32_t i = 0; i < 16; ++i) {
    if (store_.rows()[i].category == 2) damaged.insert(i);
  }
  for (const uint32_t example : damaged) damage(example);
  LoaderOptions skipping = options(40, 8);
  skipping.on_bad_row = [](const std::string&) {};
  uint32_t replaced = 0;
  Loader loader(store_, make_sampler(store_, 8), skipping);
  for (int step = 0; step < 40; ++step) {
    const Batch batch = loader.next();
    for (const Draw& draw : batch.draws) EXPECT_FALSE(damaged.contains(draw.example));
    replaced += batch.replaced;
  }
  EXPECT_NEAR(replaced, 40 * 8 / 8, 12) << "a quarter of one of two buckets";
  for (uint32_t i = 0; i < 32; ++i) {
    if (!damaged.contains(i)) damage(i);
  }
  Loader none(store_, make_sampler(store_, 8), skipping);
  EXPECT_THROW(none.next(), DataError);
}

TEST_F(LoaderOfMoments, SlabsAreUsedAgainOnceABatchIsGone) {
  Loader loader(store_, make_sampler(store_, 8), options(200, 8));
  std::set<const void*> places;
  for (int step = 0; step < 200; ++step) {
    const Batch batch = loader.next();
    places.insert(batch.latents.const_data_ptr());
    places.insert(batch.noise.const_data_ptr());
  }
  EXPECT_LE(places.size(), 2 * 2 * 6) << "two shapes, and what is ready, under way and in hand";
  const Batch held = Loader(store_, make_sampler(store_, 8), options(1, 8)).next();
  const std::vector<float> before(values(held.latents).begin(), values(held.latents).end());
  EXPECT_TRUE(std::ranges::equal(before, values(held.latents))) << "and outlive the loader";
}

// The held-out half of the store as `ranks` ranks measure it: by example, what each view is.
class ValidationBatches : public LoaderOfMoments {
 protected:
  ValidationBatches() : held_(hold_out(store_, 0.5)) {}

  static LoaderOptions measuring(uint64_t micro_batch) {
    LoaderOptions options = LoaderOfMoments::options(1, micro_batch);
    options.timesteps = 1000;
    return options;
  }
  std::multimap<uint32_t, Seen> measure(LoaderOptions options, int ranks) const {
    std::multimap<uint32_t, Seen> seen;
    options.ranks = ranks;
    for (options.rank = 0; options.rank < ranks; ++options.rank) {
      const ValidationSet set(store_, held_, options);
      EXPECT_EQ(set.draws(), ValidationSet::kViews * std::count(held_.begin(), held_.end(), true));
      for (size_t i = 0; i < set.batches(); ++i) {
        const Batch batch = set.batch(i);
        EXPECT_LE(batch.draws.size(), options.micro_batch);
        for (size_t p = 0; p < batch.draws.size(); ++p) {
          EXPECT_EQ(values(batch.loss_scale)[p], 1);
          const uint32_t example = batch.draws[p].example;
          seen.emplace(example, Seen{example, batch.captions[p],
                                     batch.timesteps.const_data_ptr<int64_t>()[p],
                                     place_of(batch.latents, p), place_of(batch.noise, p)});
        }
      }
    }
    return seen;
  }

  std::vector<bool> held_;
};

TEST_F(ValidationBatches, IsTheSameForEverySeedRankAndBatch) {
  LoaderOptions one = measuring(8);
  one.caption_dropout = 0.5;
  one.shuffle_tags = true;
  const auto expected = measure(one, 1);
  EXPECT_EQ(expected.size(), ValidationSet::kViews * std::count(held_.begin(), held_.end(), true));
  const auto same = [&](LoaderOptions options, int ranks) {
    const auto got = measure(std::move(options), ranks);
    ASSERT_EQ(got.size(), expected.size());
    for (const auto& [example, seen] : expected) {
      const auto [begin, end] = got.equal_range(example);
      EXPECT_TRUE(std::any_of(begin, end, [&](const auto& other) { return other.second == seen; }));
    }
  };
  same(one, 3);
  one.seed = 99;
  one.micro_batch = 3;
  same(one, 2);
}

TEST_F(ValidationBatches, HoldsTheHeldOutImagesWithWholeCaptionsAtTimestepsFromEachQuarter) {
  LoaderOptions options = measuring(8);
  options.caption_dropout = 1;
  options.caption_rename = {{"Bfan2", "Bofa2"}};
  std::map<uint32_t, std::multiset<int64_t>> quarters;
  std::set<std::vector<float>> noises;
  for (const auto& [example, seen] : measure(options, 1)) {
    EXPECT_TRUE(held_[example]);
    EXPECT_EQ(seen.caption, fmt::format("image {}, Bofa2, tag1, tag2, tag3", example));
    quarters[example].insert(seen.timestep / 250);
    noises.insert(seen.noise);
  }
  for (const auto& [example, timesteps] : quarters)
    EXPECT_THAT(timesteps, testing::ElementsAre(0, 1, 2, 3));
  EXPECT_EQ(noises.size(), 4 * quarters.size()) << "each view has its own noise";
}

TEST_F(ValidationBatches, WithoutHeldOutImagesIsEmpty) {
  const ValidationSet set(store_, hold_out(store_, 0), measuring(8));
  EXPECT_EQ(set.draws(), 0);
  EXPECT_EQ(set.batches(), 0);
}

TEST_F(LoaderOfMoments, ContradictingOptionsAreRefused) {
  const auto refusal = [&](LoaderOptions options) -> std::string {
    try {
      Loader(store_, make_sampler(store_, 12), options);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "taken";
  };
  LoaderOptions wrong = options(1, 5);
  EXPECT_THAT(refusal(wrong), HasSubstr("train.global_batch = 12 is no multiple"));
  wrong = options(1, 4);
  wrong.flip = 0.5;
  EXPECT_THAT(refusal(wrong), HasSubstr("data.flip"));
  wrong = options(1, 4);
  wrong.images = true;
  EXPECT_THAT(refusal(wrong), HasSubstr("--keep images"));
  wrong = options(1, 4);
  wrong.caption_dropout = 1.5;
  EXPECT_THAT(refusal(wrong), HasSubstr("data.caption_dropout = 1.5"));
  EXPECT_EQ(refusal(options(1, 4)), "taken");
}

TEST(LoaderOfImages, GivesPixelsFromMinusOneToOneMirroredAtTheRateAsked) {
  const TestStore files({Kind::kImages});
  const Store store(files.path());
  LoaderOptions options;
  options.seed = kSeed;
  options.last_step = 200;
  options.images = true;
  options.flip = 0.25;
  Loader loader(store, make_sampler(store, 4), options);
  double flipped = 0;
  for (int step = 0; step < 200; ++step) {
    const Batch batch = loader.next();
    EXPECT_FALSE(batch.latents.defined());
    for (size_t p = 0; p < 4; ++p) {
      const at::Tensor pixels =
          at::empty(store.shape(batch.draws[p].example, Kind::kImages), at::kByte);
      store.read(batch.draws[p].example, Kind::kImages, 0, pixels);
      const auto* bytes = pixels.const_data_ptr<uint8_t>();
      const auto width = static_cast<size_t>(pixels.size(2));
      std::vector<float> straight, mirrored;
      for (size_t i = 0; i < static_cast<size_t>(pixels.numel()); ++i) {
        straight.push_back(static_cast<float>(bytes[i]) / 127.5f - 1);
        mirrored.push_back(
            static_cast<float>(bytes[i / width * width + (width - 1 - i % width)]) / 127.5f - 1);
      }
      const std::vector<float> got = place_of(batch.images, p);
      ASSERT_TRUE(got == straight || got == mirrored);
      flipped += got == mirrored;
    }
  }
  EXPECT_NEAR(flipped / 800, 0.25, 5 * std::sqrt(0.1875 / 800));
}

TEST(LoaderOfLatents, ScalesThem) {
  const TestStore files({Kind::kLatents});
  const Store store(files.path());
  LoaderOptions options;
  options.last_step = 1;
  Loader loader(store, make_sampler(store, 4), options);
  const Batch batch = loader.next();
  const at::Tensor latent =
      at::empty(store.shape(batch.draws[0].example, Kind::kLatents), at::kHalf);
  store.read(batch.draws[0].example, Kind::kLatents, 0, latent);
  EXPECT_NEAR(values(batch.latents)[5],
              static_cast<float>(latent.const_data_ptr<at::Half>()[5]) * TestStore::kScale, 1e-6);
}

TEST(CaptionEdit, OnlyWholeWordsAreRenamed) {
  EXPECT_EQ(rename_words("Bfan2, xBfan2 Bfan22 Bfan2", {{"Bfan2", "Bofa2"}}),
            "Bofa2, xBfan2 Bfan22 Bofa2");
  EXPECT_EQ(rename_words("Bfan2é éBfan2 Bfan2_ (Bfan2)", {{"Bfan2", "x"}}),
            "Bfan2é éBfan2 Bfan2_ (x)");
  EXPECT_EQ(rename_words("two girls, girls", {{"two girls", "2girls"}}), "2girls, girls");
  EXPECT_EQ(rename_words("a b", {{"a", "b"}, {"b", "c"}}), "c c") << "in order";
  EXPECT_EQ(rename_words("aa", {{"a", "b"}}), "aa");
  EXPECT_EQ(rename_words("", {{"a", "b"}}), "");
}

std::string shuffled(const std::string& caption, uint64_t draw) {
  return join_parts(
      shuffle_tags(caption_parts(caption, ""), 0, RandomStream(1, Purpose::kTagOrder, draw)));
}

TEST(CaptionEdit, ShufflingKeepsTheFirstPartAndAllTags) {
  for (const char* caption : {"alone", "", "a, b"}) EXPECT_EQ(shuffled(caption, 0), caption);
  std::map<std::string, int> orders;
  for (uint64_t draw = 0; draw < 6000; ++draw) {
    const std::string caption = shuffled("main, a, b, c", draw);
    EXPECT_THAT(caption, StartsWith("main, "));
    ++orders[caption];
  }
  EXPECT_EQ(orders.size(), 6);
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, 1000, 150);
}

TEST(CaptionEdit, TagsOfWeightComeInProportionAndTheLastOnesAreCutOff) {
  const std::vector<CaptionPart> parts{{"main"}, {"a", 6}, {"b", 3}, {"cé", 1}, {"never", 0}};
  std::map<std::string, double> first, second_after_a;
  double with_a = 0;
  for (uint64_t draw = 0; draw < 20'000; ++draw) {
    const auto order = shuffle_tags(parts, 0, RandomStream(1, Purpose::kTagOrder, draw));
    ASSERT_EQ(order.size(), 5);
    EXPECT_EQ(order[0].text, "main");
    EXPECT_EQ(order[4].text, "never");
    ++first[order[1].text];
    if (order[1].text != "a") continue;
    ++with_a;
    ++second_after_a[order[2].text];
  }
  EXPECT_NEAR(first["a"] / 20'000, 0.6, 0.02);
  EXPECT_NEAR(first["b"] / 20'000, 0.3, 0.02);
  EXPECT_NEAR(second_after_a["b"] / with_a, 0.75, 0.02);
  const auto cut_to = [&](uint32_t longest) {
    return shuffle_tags(parts, longest, RandomStream(1, Purpose::kTagOrder, 7)).size();
  };
  EXPECT_EQ(cut_to(4), 1);
  EXPECT_EQ(cut_to(5), 2);
  EXPECT_EQ(cut_to(7), 2);
  EXPECT_EQ(cut_to(1000), 5);
}

}  // namespace
}  // namespace kessoku::data
