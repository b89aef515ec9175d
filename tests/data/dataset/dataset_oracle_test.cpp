// Random datasets of all dialects, compared with what tests/data/dataset/dataset_oracle.py says of
// them.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "data/captions/caption_parts.h"
#include "data/sampling/mixture.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kDatasets = 40;

class DatasetOracle : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<tests::TemporaryFolder>();
    run_python("dataset/dataset_oracle.py",
               fmt::format("'{}' 1 {}", folder_->path().string(), kDatasets));
  }
  static void TearDownTestSuite() { folder_.reset(); }

  /// Compares all datasets of a dialect; gives the number of examples.
  size_t compare(const std::string& dialect,
                 const std::function<void(const Dataset&, const json&)>& more = {}) {
    size_t examples = 0;
    for (int i = 0; i < kDatasets; ++i) {
      const fs::path folder = folder_->path() / std::to_string(i);
      const json expected = json::parse(read_file(folder / (dialect + ".json")));
      const Dataset dataset = scan_dataset(
          folder / dialect,
          {.dialect = parse_dialect(dialect), .weights = expected.value("weights", "")});
      if (more) {
        more(dataset, expected);
      } else {
        compare(dataset, expected, folder / dialect);
      }
      examples += dataset.examples.size();
    }
    return examples;
  }

  static void compare(const Dataset& dataset, const json& expected, const fs::path& root) {
    std::map<std::string, json> by_source;
    for (const json& example : expected["examples"]) by_source[example["source"]] = example;
    EXPECT_EQ(dataset.examples.size(), by_source.size()) << root;
    for (const Example& example : dataset.examples) {
      ASSERT_TRUE(by_source.contains(example.source)) << root << ": " << example.source;
      const json& want = by_source[example.source];
      const Settings& settings = dataset.settings.at(example.settings);
      const std::string where = (root / example.source).string();
      EXPECT_EQ(example.caption, want["caption"].get<std::string>()) << where;
      EXPECT_EQ(settings.multiply, want.value("multiply", 1.0)) << where;
      EXPECT_EQ(settings.caption_dropout, optional(want, "cond_dropout")) << where;
      EXPECT_EQ(settings.flip, optional(want, "flip_p")) << where;
      EXPECT_EQ(settings.loss_scale, want.value("loss_scale", 1.0)) << where;
      EXPECT_EQ(settings.batch_id, want.value("batch_id", "")) << where;
      EXPECT_EQ(settings.longest_caption, want.value("max_caption_length", 0u)) << where;
      EXPECT_EQ(settings.shuffle_tags, want.value("shuffle_tags", false)) << where;
      if (!want.contains("parts") || want["parts"].empty()) continue;
      std::vector<CaptionPart> parts;
      for (const json& part : want["parts"]) parts.push_back({part[0], part[1]});
      EXPECT_EQ(caption_parts(example.caption, example.caption_parts), parts) << where;
    }
  }

  static std::optional<double> optional(const json& entry, const char* key) {
    return entry.contains(key) ? std::optional(entry[key].get<double>()) : std::nullopt;
  }

  static std::unique_ptr<tests::TemporaryFolder> folder_;
};

std::unique_ptr<tests::TemporaryFolder> DatasetOracle::folder_;

TEST_F(DatasetOracle, EveryDream2) { EXPECT_GT(compare("everydream2"), 100u); }
TEST_F(DatasetOracle, EveryDream1) { EXPECT_GT(compare("everydream1"), 100u); }
TEST_F(DatasetOracle, Kohya) { EXPECT_GT(compare("kohya"), 100u); }

TEST_F(DatasetOracle, SharesOfTheScreenshotPipeline) {
  size_t folders = 0;
  compare("screenshot-pipeline", [&](const Dataset& dataset, const json& expected) {
    const Examples examples{
        .size = dataset.examples.size(), .groups = {{}}, .at = [&](uint64_t i) {
          return ExampleKey{.category = dataset.examples[i].category, .group = 0, .multiply = 1};
        }};
    const Mixture mixture = resolve_mixture(dataset.categories, examples, {});
    for (size_t i = 0; i < dataset.categories.size(); ++i) {
      const std::string& path = dataset.categories[i].path;
      EXPECT_NEAR(mixture.own_share[i], expected["shares"].value(path, 0.0), 1e-12) << path;
      ++folders;
    }
  });
  EXPECT_GT(folders, 100u);
}

}  // namespace
}  // namespace kessoku::data
