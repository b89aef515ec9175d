#include "data/dataset/weight_csv.h"
#include "data/sampling/mixture.h"
#include "tests/data/dataset/dataset_fixture.h"

namespace kessoku::data {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ScreenshotPipeline : public DatasetTest {
 protected:
  ScreenshotPipeline() : DatasetTest(Dialect::kScreenshotPipeline) {}
  void weigh(const std::string& csv) {
    write_text(folder_.path() / "weights.csv", csv);
    options_.weights = folder_.path() / "weights.csv";
  }
  std::map<std::string, double> shares() const {
    const Dataset dataset = scan();
    const Examples examples{
        .size = dataset.examples.size(), .groups = {{}}, .at = [&](uint64_t i) {
          return ExampleKey{.category = dataset.examples[i].category,
                            .multiply = dataset.settings[dataset.examples[i].settings].multiply};
        }};
    const Mixture mixture = resolve_mixture(dataset.categories, examples, {});
    std::map<std::string, double> result;
    for (size_t i = 0; i < dataset.categories.size(); ++i)
      result[dataset.categories[i].path] = mixture.own_share[i];
    return result;
  }
};

// The example of the pipeline's README.
TEST_F(ScreenshotPipeline, SharesFollowTheWeightsDownTheTree) {
  weigh("1_character,3\nclass1, 4\n*class2,6\n");
  for (const char* name :
       {"1_character/class1/1.png", "1_character/class1/2.png", "1_character/class2/3.png",
        "others/class1/4.png", "others/class3/5.png", "empty/notes.txt"}) {
    put(name);
  }
  put("others/class3/multiply.txt", "17");
  std::map<std::string, double> found = shares();
  EXPECT_NEAR(found["1_character/class1"], 0.3, 1e-12);
  EXPECT_NEAR(found["1_character/class2"], 0.45, 1e-12);
  EXPECT_NEAR(found["others/class1"], 0.2, 1e-12);
  EXPECT_NEAR(found["others/class3"], 0.05, 1e-12);
  EXPECT_THAT(warnings(),
              ElementsAre(HasSubstr("empty/notes.txt: a text without an image of its name"),
                          "others/class3/multiply.txt: not used, the CSV of weights holds"));
}

TEST_F(ScreenshotPipeline, AFoldersOwnImagesAreAChildOfItsOwnWeight) {
  weigh("a,3\nb,1\n");
  put("a/1.png");
  put("a/b/2.png");
  put("c/3.png");
  std::map<std::string, double> found = shares();
  EXPECT_NEAR(found["a"], 0.75 * 0.75, 1e-12);
  EXPECT_NEAR(found["a/b"], 0.75 * 0.25, 1e-12);
  EXPECT_NEAR(found["c"], 0.25, 1e-12);
}

TEST_F(ScreenshotPipeline, ANameComesBeforePatternsAndTheFirstPatternBeforeLaterOnes) {
  weigh("*/a*,5\n*/ab,6\nab,7\nab,8\n\"x,\"\"y\"\"\",9\n");
  WeightCsv table(options_.weights);
  EXPECT_EQ(table.weight("ab", "set/ab"), 8);
  EXPECT_EQ(table.weight("ac", "set/ac"), 5);
  EXPECT_EQ(table.weight("c", "set/a/c"), 5);  // "*" crosses "/"
  EXPECT_EQ(table.weight("d", "set/d"), 1);
  EXPECT_EQ(table.weight("x,\"y\"", "set/x,\"y\""), 9);
  EXPECT_THAT(table.unused(), ElementsAre("*/ab"));
}

TEST_F(ScreenshotPipeline, RefusesADamagedCsvNamingTheLine) {
  put("1.png");
  for (const auto& [csv, says] :
       std::vector<std::pair<std::string, std::string>>{{"a,1\nb\n", ":2: 1 columns"},
                                                        {"a,1,2\n", ":1: 3 columns"},
                                                        {"a,x\n", ":1: the weight 'x'"},
                                                        {"a,-1", "the weight"},
                                                        {"a,nan", "the weight"},
                                                        {"\n\"a,1\n", ":2: a quote"}}) {
    weigh(csv);
    expect_refused({"weights.csv", says});
  }
  options_.weights = "nowhere.csv";
  EXPECT_THROW(scan(), UsageError);
  options_.dialect = Dialect::kEveryDream2;
  EXPECT_THROW(scan(), UsageError);
}

TEST_F(ScreenshotPipeline, WithoutACsvTheWeightsAreThoseOfMultiplyFiles) {
  put("a/1.png");
  put("a/multiply.txt", "1.76");
  EXPECT_EQ(settings("a/1.png").multiply, 1.76);
  EXPECT_EQ(scan().categories[1].weight, std::nullopt);
}

TEST_F(ScreenshotPipeline, CaptionsComeFromTextFilesElseFromMetadata) {
  put("1.png");
  put("1.json", R"({"n_faces": 2, "facepos": [[0, 0, 1, 1]], "fh_ratio": 0.4, "cropped": false,
    "characters": ["KuraueHinata", "unknown", "YukimuraAoi"], "general": "aniscreen", "n_people": 2,
    "tags": ["blush", "multiple_girls", "hair_ornament", "2girls"], "artist": ["anonymous"]})");
  EXPECT_EQ(caption("1.png"),
            "KuraueHinata YukimuraAoi, aniscreen, multiple girls, 2girls, blush, hair ornament");
  put(".1_meta.json",
      R"({"characters": ["X"], "type": "screenshots", "tags": {"b": 0.3, "a_c": 0.9},
    "caption": ""})");
  EXPECT_EQ(caption("1.png"), "X, screenshots, a c, b");
  put(".1_meta.json", R"({"caption": "as it was written, a_b"})");
  EXPECT_EQ(caption("1.png"), "as it was written, a_b");
  put("1.txt", "by hand");
  EXPECT_EQ(caption("1.png"), "by hand");
  put("2.png");
  put("2.png.tags", "1girl, long_hair\n");
  EXPECT_EQ(caption("2.png"), "1girl, long hair");
  put("2.json", "{\"tags\":\n 3.5,\n \"characters\": {\"a\": \"b\"}}");
  expect_refused({"2.json:3: a tag's score"});
}

TEST_F(ScreenshotPipeline, PointsToTheFolderThatIsMeantForTraining) {
  put("training/1.png");
  put("intermediate/1.png");
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("in its folder 'training'")));
}

TEST(Fnmatch, AgreesWithPython) {
  tests::TemporaryFolder folder;
  const std::filesystem::path out = folder.path() / "cases";
  run_python_line(fmt::format(
      "import fnmatch, random; r = random.Random(1); out = open('{}', 'w')\n"
      "for _ in range(20000):\n"
      "  p = ''.join(r.choices('ab*?[]!-/が', k=r.randint(0, 8)))\n"
      "  t = ''.join(r.choices('ab-!/が]', k=r.randint(0, 6)))\n"
      "  out.write(p + chr(9) + t + chr(9) + str(int(fnmatch.fnmatchcase(t, p))) + chr(10))",
      out.string()));
  std::istringstream lines(read_file(out));
  size_t cases = 0, matches = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const size_t first = line.find('\t'), second = line.find('\t', first + 1);
    const std::string pattern = line.substr(0, first),
                      text = line.substr(first + 1, second - first - 1);
    const bool expected = line.substr(second + 1) == "1";
    matches += expected;
    ASSERT_EQ(fnmatch(pattern, text), expected) << pattern << " on " << text;
  }
  EXPECT_EQ(cases, 20000u);
  EXPECT_GT(matches, 500u);
}

}  // namespace
}  // namespace kessoku::data
