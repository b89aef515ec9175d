#include "metrics/ledger/ledger.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "metrics/ledger/ledger_file.h"
#include "metrics/ledger/ledger_findings.h"
#include "tests/temporary_folder.h"

namespace kessoku::metrics {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Images of a folder each.
Ledger ledger_of(std::initializer_list<std::pair<const char*, size_t>> folders) {
  Ledger ledger;
  for (const auto& [folder, images] : folders) {
    for (size_t i = 0; i < images; ++i)
      ledger.images.push_back({fmt::format("{}/{}.png", folder, i), folder});
  }
  return ledger;
}

/// Losses as a model has them: high where there is little noise, and with a spread.
class Draws {
 public:
  double loss(int timestep) {
    const double mean = 0.5 * std::exp(-timestep / 300.0) + 0.02;
    return mean * std::exp(0.4 * normal_(random_));
  }
  int timestep() { return static_cast<int>(random_() % kTimesteps); }
  /// `rounds` draws of each image, whose losses are multiplied by what `factor` gives.
  template <typename Factor>
  void fill(Ledger& ledger, int rounds, const Factor& factor) {
    std::vector<DrawLoss> losses;
    for (int round = 0; round < rounds; ++round) {
      for (uint32_t i = 0; i < ledger.images.size(); ++i) {
        const int at = timestep();
        losses.push_back({i, at, factor(ledger.images[i]) * loss(at)});
      }
    }
    ledger.add(1, losses);
  }

 private:
  std::mt19937 random_{7};
  std::normal_distribution<double> normal_;
};

std::vector<std::string> sources(const std::vector<LearnedImage>& images) {
  std::vector<std::string> names;
  for (const LearnedImage& image : images) names.push_back(image.source);
  return names;
}

TEST(Ledger, CountsMeansAndSpreadsAreThoseOfTheDraws) {
  Ledger ledger = ledger_of({{"a", 2}});
  ledger.add(3, {{0, 0, 1}, {0, 99, 2}, {0, 100, 6}, {1, 999, 5}, {1, 5, NAN}});
  EXPECT_EQ(ledger.step, 3u);
  EXPECT_EQ(ledger.images[0].bins[0].count, 2u);
  EXPECT_EQ(ledger.images[0].bins[0].mean(), 1.5);
  EXPECT_EQ(ledger.images[0].bins[0].spread(), 0.5);
  EXPECT_EQ(ledger.images[0].total().mean(), 3);
  EXPECT_DOUBLE_EQ(ledger.images[0].total().spread(), std::sqrt(14.0 / 3));
  EXPECT_EQ(ledger.images[1].total().count, 1u) << "without the NaN";
  EXPECT_EQ(ledger.images[1].bins[9].sum, 5);
}

TEST(Ledger, GoesOnForTheImagesThatAreStillThere) {
  Ledger before = ledger_of({{"a", 2}}), after = ledger_of({{"a", 1}, {"c", 1}});
  before.first_step = 2;
  before.add(4, {{0, 0, 1}, {1, 0, 2}});
  after.resume(before);
  after.add(5, {{0, 0, 3}, {1, 0, 4}});
  EXPECT_EQ(after.first_step, 2u);
  EXPECT_EQ(after.images[0].total().sum, 4);
  EXPECT_EQ(after.images[1].total().sum, 4);
}

TEST(Ledger, NamesThatLookAlikeKeepTheirPlaces) {
  Ledger before = ledger_of({{"a", 0}}), after;
  before.images = after.images = {{"a/\ufffd", "a"}, {"a/\ufffd", "a"}};
  before.add(1, {{0, 0, 1}, {1, 0, 2}});
  after.resume(before);
  EXPECT_EQ(after.images[1].total().sum, 2);
}

class LedgerOfARun : public ::testing::Test {
 protected:
  /// Takes steps after `ledger`, with one draw each, of the second of two images.
  LedgerFile take(uint64_t steps, Ledger ledger = ledger_of({{"a", 2}})) {
    const uint64_t first = ledger.step;
    LedgerFile file(run_, std::move(ledger));
    for (uint64_t step = first + 1; step <= first + steps; ++step)
      file.append({.step = step, .draw_losses = {{1, 7, 1.0 / static_cast<double>(step)}}});
    return file;
  }
  std::filesystem::path file(const char* name) const { return run_ / "ledger" / name; }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(run_ / "ledger"))
      found.push_back(entry.path().filename());
    std::ranges::sort(found);
    return found;
  }

  tests::TemporaryFolder folder_;
  std::filesystem::path run_ = folder_.path();
};

TEST_F(LedgerOfARun, HasTheSameBitsByWhateverFileAndStepItWent) {
  LedgerFile whole = take(9);
  whole.begin();
  const std::string expected = read_file(file("step-00000009.jsonl"));
  for (const uint64_t stop : {1, 5, 8}) {
    take(stop).begin();
    take(2, *read_ledger(run_));  // and what follows is lost
    take(9 - stop, *read_ledger(run_, stop)).begin();
    EXPECT_EQ(read_file(file("step-00000009.jsonl")), expected) << stop;
  }
}

TEST_F(LedgerOfARun, CanBeReadWhileItGrows) {
  EXPECT_FALSE(read_ledger(run_));
  const LedgerFile growing = take(3);
  std::ofstream(file("step-00000000.jsonl"), std::ios::app) << R"({"step":4,"dra)";
  const std::optional<Ledger> read = read_ledger(run_);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->step, 3u);
  EXPECT_EQ(read->images[1].bins[0].sum, 1.0 + 1.0 / 2 + 1.0 / 3);
  EXPECT_EQ(read->images[0].total().count, 0u);
  EXPECT_EQ(read_ledger(run_, 2)->step, 2u);
}

TEST_F(LedgerOfARun, NamesOfAnyBytesAreWritten) {
  take(1, ledger_of({{"\xff\"\\\n", 2}}));
  EXPECT_EQ(read_ledger(run_)->images[1].source, "\ufffd\"\\\n/1.png");
}

TEST_F(LedgerOfARun, KeepsWhatCheckpointsAndStepsAfterTheNewestNeed) {
  LedgerFile growing = take(0);
  for (uint64_t step = 1; step <= 5; ++step) {
    growing.append({.step = step});
    growing.begin();
  }
  std::ofstream(file("step-x.jsonl")) << "not ours";
  remove_old_ledgers(run_, {1, 4});
  EXPECT_THAT(names(), ElementsAre("step-00000001.jsonl", "step-00000004.jsonl",
                                   "step-00000005.jsonl", "step-x.jsonl"));
  remove_old_ledgers(run_, {});
  EXPECT_EQ(names().size(), 4u);
}

TEST_F(LedgerOfARun, TrainingGoesOnWhereItCannotBeWritten) {
  std::ofstream(run_ / "ledger") << "a file";
  EXPECT_NO_THROW(take(3).begin());
}

TEST_F(LedgerOfARun, ADamagedLineIsNamed) {
  take(2);
  const std::string text = read_file(file("step-00000000.jsonl"));
  for (const auto& [from, to, line] : {std::tuple{R"("image")", R"("page")", 2},
                                       {R"([1,7,)", R"([2,7,)", 4},
                                       {R"({"first_step")", R"(["first_step")", 1},
                                       {R"("bins":{})", R"("bins":{"10":[1,1,1]})", 2}}) {
    std::string damaged = text;
    damaged.replace(damaged.find(from), std::string_view(from).size(), to);
    std::ofstream(file("step-00000000.jsonl")) << damaged;
    try {
      read_ledger(run_);
      ADD_FAILURE() << "no error: " << to;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(fmt::format("step-00000000.jsonl:{}: ", line)));
    }
    EXPECT_FALSE(findings_of(run_)) << "with a warning";
  }
}

TEST(LedgerFindings, AnImageWhoseLossesAreFarAboveItsFoldersIsNamedAndNoOther) {
  Ledger ledger = ledger_of({{"plain", 60}, {"hard", 60}});
  Draws().fill(ledger, 20, [](const LedgerImage& image) {
    const double folder = image.folder == "hard" ? 3 : 1;  // of which all images are hard
    return image.source == "plain/17.png" ? 2 * folder : folder;
  });
  const LedgerFindings found = examine(ledger);
  EXPECT_THAT(sources(found.suspicious), ElementsAre("plain/17.png"));
  EXPECT_EQ(found.worst[0].folder, "hard");
  EXPECT_EQ(found.best[0].folder, "plain");
  ASSERT_EQ(found.folders.size(), 2u);
  EXPECT_EQ(found.folders[0].total().count, 1200u);
  EXPECT_NEAR(found.folders[0].total().mean() / found.folders[1].total().mean(), 3, 0.3);
}

TEST(LedgerFindings, ImagesThatWereDrawnAtHarderTimestepsAreNotTakenForPoorlyLearned) {
  Ledger ledger = ledger_of({{"a", 30}});
  Draws draws;
  std::vector<DrawLoss> losses;
  for (int round = 0; round < 30; ++round) {
    for (uint32_t i = 0; i < 30; ++i) {
      const int at = i == 5 ? draws.timestep() / 10 : draws.timestep();
      losses.push_back({i, at, draws.loss(at)});
    }
  }
  ledger.add(1, losses);
  EXPECT_GT(ledger.images[5].total().mean(), 2 * examine(ledger).all.total().mean());
  EXPECT_THAT(examine(ledger).suspicious, IsEmpty());
}

TEST(LedgerFindings, AFewDrawsOrAFewImagesTellNothing) {
  Ledger ledger = ledger_of({{"a", 4}, {"b", 30}});
  Draws().fill(ledger, 20,
               [](const LedgerImage& image) { return image.source == "a/1.png" ? 9.0 : 1.0; });
  EXPECT_THAT(examine(ledger).suspicious, IsEmpty());
  EXPECT_THAT(examine({}).worst, IsEmpty());
}

}  // namespace
}  // namespace kessoku::metrics
