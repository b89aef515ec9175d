#include "metrics/ledger/ledger.h"

#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <random>

#include "base/error.h"
#include "base/file.h"
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
    StepRecord record{.step = 1};
    for (int round = 0; round < rounds; ++round) {
      for (uint32_t i = 0; i < ledger.images.size(); ++i) {
        const int at = timestep();
        record.draw_losses.push_back({i, at, factor(ledger.images[i]) * loss(at)});
      }
    }
    ledger.add(record);
  }

 private:
  std::mt19937 random_{7};
  std::normal_distribution<double> normal_;
};

std::vector<std::string> sources(const std::vector<LearntImage>& images) {
  std::vector<std::string> names;
  for (const LearntImage& image : images) names.push_back(image.source);
  return names;
}

TEST(Ledger, CountsMeansAndSpreadsAreThoseOfTheDraws) {
  Ledger ledger = ledger_of({{"a", 2}});
  ledger.add(
      {.step = 3, .draw_losses = {{0, 0, 1}, {0, 99, 2}, {0, 100, 6}, {1, 999, 5}, {1, 5, NAN}}});
  EXPECT_EQ(ledger.step, 3u);
  EXPECT_EQ(ledger.images[0].bins[0].count, 2u);
  EXPECT_EQ(ledger.images[0].bins[0].mean(), 1.5);
  EXPECT_EQ(ledger.images[0].bins[0].spread(), 0.5);
  EXPECT_EQ(ledger.images[0].total().mean(), 3);
  EXPECT_DOUBLE_EQ(ledger.images[0].total().spread(), std::sqrt(14.0 / 3));
  EXPECT_EQ(ledger.images[1].total().count, 1u) << "without the NaN";
  EXPECT_EQ(ledger.images[1].bins[9].sum, 5);
}

TEST(Ledger, AFileGivesTheSameBitsBackAndLeavesOutWhatWasNotDrawn) {
  const tests::TemporaryFolder folder;
  Ledger ledger = ledger_of({{"a", 3}, {"b\xff", 1}});
  ledger.add({.step = 7, .draw_losses = {{0, 10, 0.1}, {0, 20, 0.2}, {2, 500, 1.0 / 3}}});
  const std::filesystem::path file = ledger_file(folder.path(), 7);
  write_ledger(file, ledger);
  const Ledger back = read_ledger(file);
  ASSERT_EQ(back.images.size(), 2u);
  EXPECT_EQ(back.step, 7u);
  EXPECT_EQ(back.images[0].bins[0].sum, 0.1 + 0.2);
  EXPECT_EQ(back.images[1].bins[5].squares, 1.0 / 3 * (1.0 / 3));
  EXPECT_EQ(back.images[1].source, "a/2.png");
}

TEST(Ledger, GoesOnFromAFileAlsoForNamesThatAreNotUtf8) {
  const tests::TemporaryFolder folder;
  Ledger before = ledger_of({{"caf\xe9", 1}});
  before.add({.step = 1, .draw_losses = {{0, 0, 1}}});
  write_ledger(ledger_file(folder.path(), 1), before);
  Ledger after = ledger_of({{"caf\xe9", 1}});
  continue_ledger(after, read_ledger(ledger_file(folder.path(), 1)));
  EXPECT_EQ(after.images[0].total().count, 1u);
}

TEST(Ledger, GoesOnForTheImagesThatAreStillThere) {
  Ledger before = ledger_of({{"a", 2}}), after = ledger_of({{"a", 1}, {"c", 1}});
  before.first_step = 2;
  before.add({.step = 4, .draw_losses = {{0, 0, 1}, {1, 0, 2}}});
  continue_ledger(after, before);
  after.add({.step = 5, .draw_losses = {{0, 0, 3}, {1, 0, 4}}});
  EXPECT_EQ(after.first_step, 2u);
  EXPECT_EQ(after.images[0].total().sum, 4);
  EXPECT_EQ(after.images[1].total().sum, 4);
}

TEST(Ledger, TheNewestIsTheOneThatTheLogReaches) {
  const tests::TemporaryFolder folder;
  EXPECT_EQ(newest_ledger(folder.path(), 9), std::nullopt);
  for (const uint64_t step : {3, 6, 12}) write_ledger(ledger_file(folder.path(), step), {});
  std::ofstream(folder.path() / "ledger/step-x.jsonl") << "not ours";
  EXPECT_EQ(newest_ledger(folder.path(), 9), ledger_file(folder.path(), 6));
  remove_other_ledgers(folder.path(), {3, 12});
  EXPECT_EQ(newest_ledger(folder.path(), 9), ledger_file(folder.path(), 3));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "ledger/step-x.jsonl"));
}

TEST(Ledger, ADamagedLineIsNamed) {
  const tests::TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "ledger.jsonl";
  std::ofstream(file) << R"({"first_step":0,"step":1})"
                      << "\n"
                      << R"({"image":"a"})"
                      << "\n";
  try {
    read_ledger(file);
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("ledger.jsonl:2: "));
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

TEST(LedgerFindings, ImagesThatWereDrawnAtHarderTimestepsAreNotTakenForBadlyLearnt) {
  Ledger ledger = ledger_of({{"a", 30}});
  Draws draws;
  StepRecord record{.step = 1};
  for (int round = 0; round < 30; ++round) {
    for (uint32_t i = 0; i < 30; ++i) {
      const int at = i == 5 ? draws.timestep() / 10 : draws.timestep();
      record.draw_losses.push_back({i, at, draws.loss(at)});
    }
  }
  ledger.add(record);
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
