#include "tests/data/dataset/dataset_fixture.h"

namespace kessoku::data {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EveryDream1 : public DatasetTest {
 protected:
  EveryDream1() : DatasetTest(Dialect::kEveryDream1) {}
};

TEST_F(EveryDream1, CutsWeightsToWholeNumbers) {
  put("a/1.png");
  const std::vector<std::pair<std::string, double>> cases{
      {"1.76", 1}, {" 6.99\n", 6}, {"2", 2},    {"0.99", 0}, {"0", 0},     {"-3", 0},
      {"-0.5", 0}, {"1e2", 100},   {"many", 1}, {"", 1},     {"1e999", 1}, {"nan", 1}};
  for (const auto& [text, multiply] : cases) {
    put("a/multiply.txt", text);
    EXPECT_EQ(settings("a/1.png").multiply, multiply) << text;
    EXPECT_EQ(scan().categories[1].multiply, multiply) << text;
  }
  put("a/multiply.txt", "0.5");
  EXPECT_THAT(warnings(),
              ElementsAre(HasSubstr("a/multiply.txt: 0.5 is cut to 0, as in EveryDream1"),
                          "a: multiply 0, so its images are never drawn"));
}

TEST_F(EveryDream1, TakesTheWholeTextOfTheFirstFileThatIsThere) {
  put("one_two.png");
  EXPECT_EQ(caption("one_two.png"), "one");
  put("one_two.caption", "from caption");
  EXPECT_EQ(caption("one_two.png"), "from caption");
  put("one_two.txt", " a,a , b\n");
  EXPECT_EQ(caption("one_two.png"), "a,a , b");
  put("one_two.txt", "caf\xE9");
  EXPECT_EQ(caption("one_two.png"), "one");
  EXPECT_THAT(warnings(), Contains(HasSubstr("one_two.txt: not UTF-8")));
}

TEST_F(EveryDream1, KnowsNothingOfLaterFiles) {
  put("a/1.png");
  put("a/local.yaml", "multiply: [broken");
  put("a/1.yaml", "main_prompt: no");
  put("a/flip_p.txt", "no");
  put("a/cond_dropout.txt", "0.5");
  EXPECT_EQ(settings("a/1.png"), Settings{});
  EXPECT_EQ(caption("a/1.png"), "1");
  EXPECT_THAT(warnings(),
              ElementsAre(HasSubstr("a/1.yaml: beside an image, but not used"),
                          HasSubstr("a/cond_dropout.txt: a setting of EveryDream2's, which"),
                          HasSubstr("a/flip_p.txt: a setting of EveryDream2's, which"),
                          HasSubstr("a/local.yaml: a setting of EveryDream2's, which")));
}

TEST_F(EveryDream1, TakesExtensionsInCapitalsAndSaysSo) {
  put("1.JPG");
  EXPECT_THAT(sources(), ElementsAre("1.JPG"));
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("1.JPG: EveryDream1 would not see")));
}

// What becomes of the mixture 0.30 / 0.25 / 0.45 of reference/finetuners.md, §0, when it is written
// as multipliers: of 7024, 1630 and 18519 images.
class RoundedMixture : public DatasetTest {
 protected:
  RoundedMixture() : DatasetTest(Dialect::kEveryDream2) {}
  std::vector<std::string> shares(Dialect dialect, const std::vector<std::string>& multipliers) {
    const std::vector<std::string> folders{"fanart", "regularization", "screenshots"};
    const std::vector<double> images{1630, 18519, 7024};
    for (size_t i = 0; i < folders.size(); ++i) {
      put(folders[i] + "/1.png");
      put(folders[i] + "/multiply.txt", multipliers[i]);
    }
    options_.dialect = dialect;
    const Dataset dataset = scan();
    std::vector<double> weights;
    double total = 0;
    for (size_t i = 0; i < folders.size(); ++i) {
      weights.push_back(images[i] * dataset.settings[dataset.examples[i].settings].multiply);
      total += weights[i];
    }
    std::vector<std::string> result;
    for (const double weight : weights) result.push_back(fmt::format("{:.4f}", weight / total));
    return result;
  }
};

TEST_F(RoundedMixture, IsAsMeasured) {
  EXPECT_THAT(shares(Dialect::kEveryDream2, {"6.31", "1.0", "1.76"}),
              ElementsAre("0.2498", "0.4499", "0.3003"));
  EXPECT_THAT(shares(Dialect::kEveryDream2, {"6", "1", "2"}),
              ElementsAre("0.2309", "0.4373", "0.3317"));
  EXPECT_THAT(shares(Dialect::kEveryDream1, {"6.31", "1.0", "1.76"}),
              ElementsAre("0.2769", "0.5243", "0.1989"));
}

}  // namespace
}  // namespace kessoku::data
