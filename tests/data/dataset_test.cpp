#include "data/dataset.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/caption.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ScanDataset : public ::testing::Test {
 protected:
  void put(const std::string& path, const std::string& text = "x") {
    write_text(root() / path, text);
  }
  Dataset scan() { return scan_dataset(root(), {}); }
  std::string caption() { return scan().examples.at(0).caption; }
  std::vector<std::string> sources() {
    std::vector<std::string> result;
    for (const Example& example : scan().examples) result.push_back(example.source);
    return result;
  }
  fs::path root() const { return folder_.path() / "set"; }
  tests::TemporaryFolder folder_;
};

TEST_F(ScanDataset, TakesImagesOfAnyCaseInTheOrderOfTheirPaths) {
  for (const char* name : {"b.JPG", "a.png", "c.jpeg", "d.Bmp", "e.webp", "f.jfif", "g.gif",
                           "h.txt", ".i.png", ".hidden/j.png", "a/z.png", "結束/バンド.png"}) {
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

TEST_F(ScanDataset, CaptionPrecedenceIsTxtThenCaptionThenFileName) {
  put("bocchi_(the_rock).png");
  EXPECT_EQ(caption(), "bocchi");
  put("bocchi_(the_rock).caption", " from caption\n");
  EXPECT_EQ(caption(), "from caption");
  put("bocchi_(the_rock).txt", "\xEF\xBB\xBF from txt\r\n");
  EXPECT_EQ(caption(), "from txt");
  put("bocchi_(the_rock).txt", " \n");
  EXPECT_EQ(caption(), "from caption");
}

TEST_F(ScanDataset, ReadsCaptionsThatAreNotUtf8AsLatin1AndWarns) {
  put("a.png");
  put("a.txt", "caf\xE9");
  EXPECT_EQ(caption(), "café");
  EXPECT_THAT(scan().warnings, ElementsAre(HasSubstr("a.png: a.txt is not UTF-8")));
}

TEST_F(ScanDataset, WeightsHoldForTheirOwnFolderOnly) {
  put("a/1.png");
  put("a/b/2.png");
  put("a/multiply.txt", " 2.5\n");
  put("a/cond_dropout.txt", "0");
  put("a/flip_p.txt", "0.5");
  const Dataset dataset = scan();
  EXPECT_EQ(dataset.categories[1].multiply, 2.5);
  EXPECT_EQ(dataset.categories[1].caption_dropout, 0.0);
  EXPECT_EQ(dataset.categories[1].flip, 0.5);
  EXPECT_EQ(dataset.categories[2].multiply, 1);
  EXPECT_EQ(dataset.categories[2].caption_dropout, std::nullopt);
  EXPECT_THAT(dataset.warnings, IsEmpty());
}

TEST_F(ScanDataset, WarnsOfAFolderThatIsNeverDrawn) {
  put("a/1.png");
  put("a/multiply.txt", "0");
  EXPECT_THAT(scan().warnings, ElementsAre(HasSubstr("a: multiply 0")));
}

TEST_F(ScanDataset, RefusesMalformedWeightsNamingTheFile) {
  put("a/1.png");
  for (const char* text : {"", "two", "0,5", "-1", "nan", "inf", "1e999", "1 2", "+"}) {
    put("a/multiply.txt", text);
    try {
      scan();
      ADD_FAILURE() << text;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("a/multiply.txt"));
    }
  }
  put("a/multiply.txt", "+1.5");
  put("a/flip_p.txt", "1.5");
  EXPECT_THROW(scan(), DataError);
}

TEST_F(ScanDataset, EndsInSpiteOfLinksInACircle) {
  put("a/1.png");
  fs::create_directory_symlink("..", root() / "a/up");
  fs::create_directory_symlink("a", root() / "same");
  fs::create_symlink("nowhere", root() / "broken.png");
  const Dataset dataset = scan();
  EXPECT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(dataset.warnings.size(), 2u);
  ASSERT_EQ(dataset.skipped.size(), 1u);
  EXPECT_EQ(dataset.skipped[0].source, "broken.png");
}

TEST_F(ScanDataset, RefusesAFolderThatIsMissingOrHoldsNoImages) {
  EXPECT_THROW(scan(), UsageError);
  put("notes.txt");
  EXPECT_THROW(scan(), UsageError);
}

TEST(ParseDialect, NamesTheNearest) {
  for (const Dialect dialect : {Dialect::kEveryDream2, Dialect::kEveryDream1,
                                Dialect::kScreenshotPipeline, Dialect::kKohya}) {
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
