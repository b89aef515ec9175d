#include "data/dataset/dataset.h"

#include <gmock/gmock.h>

#include <ctime>
#include <fstream>

#include "base/text_file.h"
#include "data/dataset/dialect_table.h"
#include "tests/data/dataset/dataset_fixture.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ScanDataset : public DatasetTest {
 protected:
  ScanDataset() : DatasetTest(Dialect::kEveryDream2) {}
};

TEST_F(ScanDataset, TakesImagesOfAnyCaseInTheOrderOfTheirPaths) {
  for (const char* name : {"b.JPG", "a.png", "c.jpeg", "d.Bmp", "e.webp", "f.jfif", "h.txt",
                           ".i.png", ".hidden/j.png", "a/z.png", "結束/バンド.png"}) {
    put(name);
  }
  EXPECT_THAT(sources(), ElementsAre("a.png", "a/z.png", "b.JPG", "c.jpeg", "d.Bmp", "e.webp",
                                     "f.jfif", "結束/バンド.png"));
}

TEST_F(ScanDataset, ListsAllFoldersRootFirst) {
  put("b/x/1.png");
  put("a/2.png");
  fs::create_directories(root() / "empty");
  std::vector<std::string> paths;
  const Dataset dataset = scan();
  for (const Category& category : dataset.categories) paths.push_back(category.path);
  EXPECT_THAT(paths, ElementsAre(".", "a", "b", "b/x", "empty"));
  EXPECT_EQ(dataset.categories[dataset.examples[1].category].path, "b/x");
}

TEST_F(ScanDataset, TakesFormatsThatOtherTrainersLeaveOutAndSaysSo) {
  for (const char* name : {"a.gif", "b.AVIF", "c.heic", "d.tiff", "e.svg", "f.zip"}) put(name);
  EXPECT_THAT(sources(), ElementsAre("a.gif", "b.AVIF", "c.heic", "d.tiff"));
  EXPECT_THAT(warnings(),
              Contains("a.gif: an image that other trainers would not read; it is used"));
  EXPECT_THAT(warnings(), Contains(HasSubstr("f.zip: not unpacked")));
}

TEST_F(ScanDataset, FindsSidecarsInWhateverFormUnicodeIsWritten) {
  const std::string composed = "が", decomposed = "\xE3\x81\x8B\xE3\x82\x99";
  put(composed + ".png");
  put(decomposed + ".txt", "by another system");
  put("sp ace.PNG");
  put("sp ace.TXT", "capitals");
  put(decomposed + "/x.png");
  EXPECT_EQ(caption(composed + ".png"), "by another system");
  EXPECT_EQ(caption("sp ace.PNG"), "capitals");
  const Dataset dataset = scan();
  const Example& example = find(dataset, decomposed + "/x.png");  // opens only under its own name
  EXPECT_EQ(dataset.categories[example.category].path, composed);
}

TEST_F(ScanDataset, KeepsFoldersApartThatLookTheSame) {
  const std::string composed = "が", decomposed = "\xE3\x81\x8B\xE3\x82\x99";
  put(composed + "/1.png");
  put(decomposed + "/2.png");
  put("\xFF/3.png");
  const Dataset dataset = scan();
  EXPECT_EQ(dataset.categories.size(), 4u);
  EXPECT_NE(find(dataset, composed + "/1.png").category,
            find(dataset, decomposed + "/2.png").category);
  EXPECT_EQ(dataset.categories[find(dataset, "\xFF/3.png").category].path, "ÿ");
}

TEST_F(ScanDataset, BoundsItsWarnings) {
  for (int i = 0; i < 50; ++i) put(fmt::format("{:02}.gif", i));
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("00.gif: "), HasSubstr("01.gif: "),
                                      HasSubstr("02.gif: "), HasSubstr("and 47 more: an image")));
}

// The property `seconds` of the test's report says how long it took: 1 to 2. Of this process, so
// that a busy machine is no failure.
TEST_F(ScanDataset, ReadsAFolderOfAHundredThousandFilesQuickly) {
  put("0.png");
  const auto touch = [&](const std::string& name) { std::ofstream(root() / name) << "a, b, c"; };
  for (int i = 0; i < 50'000; ++i) {
    touch(fmt::format("image {}.png", i));
    touch(fmt::format("image {}.txt", i));
  }
  const std::clock_t began = std::clock();
  const Dataset dataset = scan();
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  EXPECT_EQ(dataset.examples.size(), 50'001u);
  EXPECT_EQ(find(dataset, "image 49999.png").caption, "a, b, c");
  RecordProperty("seconds", std::to_string(seconds));
  EXPECT_LT(seconds, 30);
}

TEST_F(ScanDataset, EndsInSpiteOfLinksInACircle) {
  put("a/1.png");
  fs::create_directory_symlink("..", root() / "a/up");
  fs::create_directory_symlink("a", root() / "same");
  fs::create_symlink("nowhere", root() / "broken.png");
  const Dataset dataset = scan();
  EXPECT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(dataset.warnings.size(), 3u);  // the third is of captions
  ASSERT_EQ(dataset.skipped.size(), 1u);
  EXPECT_EQ(dataset.skipped[0].source, "broken.png");
}

TEST_F(ScanDataset, RefusesAFolderThatIsMissingOrHoldsNoImages) {
  EXPECT_THROW(scan(), UsageError);
  put("notes.txt");
  EXPECT_THROW(scan(), UsageError);
}

TEST(ParseDialect, NamesTheNearest) {
  for (size_t i = 0; i < std::size(kDialectNames); ++i) {
    const auto dialect = static_cast<Dialect>(i);
    EXPECT_EQ(parse_dialect(to_string(dialect)), dialect);
  }
  try {
    parse_dialect("everydrem2");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'everydream2'"));
  }
}

TEST(IsUtf8, AgreesWithPythonOnAllShortSequences) {
  tests::TemporaryFolder folder;
  const fs::path out = folder.path() / "valid";
  // All sequences of up to four bytes over those at which the rules change.
  run_python_line(
      fmt::format("import itertools\n"
                  "edges = bytes.fromhex('417f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff')\n"
                  "def ok(b):\n"
                  "  try: b.decode(); return b'1'\n"
                  "  except UnicodeDecodeError: return b'0'\n"
                  "open('{}','wb').write(b''.join(ok(bytes(t)) for n in range(5) for t in "
                  "itertools.product(edges, repeat=n)))",
                  out.string()));
  const std::string expected = read_file(out);
  const std::string edges(
      "\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5"
      "\xff");
  size_t index = 0;
  for (size_t length = 0; length < 5; ++length) {
    size_t count = 1;
    for (size_t i = 0; i < length; ++i) count *= edges.size();
    for (size_t number = 0; number < count; ++number) {
      std::string text(length, ' ');
      size_t rest = number;
      for (size_t i = length; i-- > 0; rest /= edges.size()) text[i] = edges[rest % edges.size()];
      ASSERT_EQ(is_utf8(text), expected.at(index++) == '1') << number << " of length " << length;
    }
  }
  EXPECT_EQ(index, expected.size());
}

}  // namespace
}  // namespace kessoku::data
