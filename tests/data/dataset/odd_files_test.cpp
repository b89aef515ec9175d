// What lies in a dataset and nobody uses is told, with what was done instead.
#include <unistd.h>

#include "base/system_error.h"
#include "tests/data/dataset/dataset_fixture.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class OddFiles : public DatasetTest {
 protected:
  OddFiles() : DatasetTest(Dialect::kEveryDream2) {
    put("a/1.png");
    put("a/1.txt", "one");
  }
  /// What a scan that fails has warned of until then.
  std::vector<std::string> warnings_of_failure() {
    std::vector<std::string> seen;
    options_.on_failure = [&](const std::vector<std::string>& warnings) { seen = warnings; };
    EXPECT_THROW(scan(), Error);
    return seen;
  }
};

TEST_F(OddFiles, AreNoneWhereAllIsUsed) {
  put("a/multiply.txt", "2");
  put("a/global.yaml", "flip_p: 0.5");
  EXPECT_THAT(all_warnings(), IsEmpty());
}

TEST_F(OddFiles, AreCaptionsWithoutAnImage) {
  put("a/2.txt", "two");
  put("a/2.caption", "two");
  put("a/notes.md", "none of ours");
  EXPECT_THAT(
      all_warnings(),
      ElementsAre("a/2.caption: a text without an image of its name; rename it if it is a caption",
                  "a/2.txt: a text without an image of its name; rename it if it is a caption"));
}

TEST_F(OddFiles, AreCaptionsNamedAlmostAsAnImage) {
  for (const char* image : {"Bocchi.png", "kita.jpg", "ryo 1.webp", "nijika.png"})
    put(std::string("b/") + image);
  for (const char* text : {"bocchi.txt", "kita.jpg.txt", "ryo_1.txt", "nijika.txt.txt"})
    put(std::string("b/") + text);
  const std::vector<std::string> told = all_warnings();
  EXPECT_EQ(told[0],
            "images without a caption: 4 of 5; theirs is the name of the file or folder, such as "
            "\"Bocchi\" of b/Bocchi.png");
  EXPECT_THAT(told, Contains(HasSubstr("b/bocchi.txt (Bocchi.png?): named almost as an image")));
  EXPECT_THAT(told, Contains(HasSubstr("b/kita.jpg.txt (kita.jpg?): named almost")));
  EXPECT_THAT(told, Contains(HasSubstr("b/nijika.txt.txt (nijika.png?): named almost")));
  EXPECT_THAT(told, Contains(HasSubstr("and 1 more: named almost")));
}

TEST_F(OddFiles, AreEmptyCaptions) {
  put("a/2.png");
  put("a/2.txt", " \n");
  EXPECT_THAT(all_warnings(), ElementsAre(HasSubstr("images without a caption: 1 of 2;"),
                                          "a/2.txt: empty, so another file or the name counts"));
}

TEST_F(OddFiles, AreFormatsThatAreNotReadAndArchives) {
  for (const char* name : {"a/2.jxl", "a/3.psd", "a/4.mp4", "a/more.rar"}) put(name);
  const std::vector<std::string> told = all_warnings();
  EXPECT_THAT(told, Contains("a/2.jxl: of a format that is not read; convert it to PNG or JPEG"));
  EXPECT_THAT(told, Contains(HasSubstr("a/4.mp4: of a format")));
  EXPECT_THAT(told, Contains("a/more.rar: not unpacked; unpack it if it holds images"));
}

TEST_F(OddFiles, AreMetadataThatTheDialectDoesNotRead) {
  put("a/1.json", "{}");
  EXPECT_THAT(all_warnings(), ElementsAre(HasSubstr("a/1.json: beside an image, but not used")));
  options_.dialect = Dialect::kEveryDream1;
  put("a/1.caption", "another");
  EXPECT_THAT(all_warnings(), Contains(HasSubstr("a/1.caption: beside an image, but not used")));
}

TEST_F(OddFiles, OfSystemsAndNasDevicesAreNotRead) {
  put("a/@eaDir/1.png/SYNOPHOTO_THUMB_XL.jpg");
  put("lost+found/x.png");
  EXPECT_THAT(sources(), ElementsAre("a/1.png"));
  EXPECT_THAT(all_warnings(), ElementsAre(HasSubstr("lost+found: made by a system or NAS"),
                                          HasSubstr("a/@eaDir: made by a system or NAS")));
}

TEST_F(OddFiles, AreFoldersOfKohyasKindInAnotherDialect) {
  put("10_bocchi/0001.png");
  put("3_/0001.png");
  EXPECT_THAT(all_warnings(), Contains(HasSubstr("10_bocchi: named as kohya's scripts want it")));
  EXPECT_THAT(all_warnings(), Contains(HasSubstr("images without a caption: 2 of 3;")));
  options_.dialect = Dialect::kKohya;
  EXPECT_EQ(settings("10_bocchi/0001.png").multiply, 10);
  EXPECT_THAT(all_warnings(), Not(Contains(HasSubstr("named as kohya"))));
}

TEST_F(OddFiles, AreFoldersOneLevelTooDeep) {
  options_.dialect = Dialect::kKohya;
  put("10_bocchi/0001.png");
  put("10_bocchi/more/0002.png");
  put("10_bocchi/more/0003.png");
  EXPECT_THAT(all_warnings(),
              Contains(HasSubstr("10_bocchi/more (2 images): a folder in a folder")));
  EXPECT_THAT(all_warnings(), Contains(HasSubstr("a (1 image): not named 'N_name'")));
  fs::create_directories(root() / "img");
  fs::rename(root() / "10_bocchi", root() / "img/10_bocchi");
  try {
    scan();
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("img/10_bocchi is one level too deep: give " +
                                        (root() / "img").string()));
  }
}

TEST_F(OddFiles, AreToldOfBeforeAnErrorToo) {
  put("b/multiply.txt", "many");
  put("a/2.txt", "two");
  EXPECT_THAT(warnings_of_failure(), ElementsAre(HasSubstr("a/2.txt: a text without an image")));
}

TEST_F(OddFiles, AreWarnedOfWhereAListHoldsOtherBytesThanUtf8) {
  put("list.json", "[{\"image\": \"a/1.png\", \"main_prompt\": \"caf\xE9\"}]");
  const Dataset dataset = scan_file("list.json");
  EXPECT_EQ(dataset.examples[0].caption, "café");
  EXPECT_THAT(dataset.warnings, ElementsAre(HasSubstr("list.json: not UTF-8, read as Windows")));
  put("a/local.yaml", "tags: [caf\xE9]");
  EXPECT_EQ(caption("a/1.png"), "one, café");
  EXPECT_THAT(all_warnings(), ElementsAre(HasSubstr("a/local.yaml: not UTF-8, read as Windows")));
}

/// Runs as somebody without rights: who may read everything cannot test what may not be read.
class Unprivileged {
 public:
  Unprivileged() : user_(geteuid()) {
    if (user_ == 0) become(65534);
  }
  ~Unprivileged() {
    if (user_ == 0) become(user_);
  }

 private:
  static void become(uid_t user) { EXPECT_EQ(seteuid(user), 0); }
  uid_t user_;
};

TEST_F(OddFiles, ThatTheMachineCannotReadStopTheScan) {
  fs::permissions(folder_.path(), fs::perms(0755));
  for (const char* closed : {"a", "a/1.txt"}) {
    const fs::path path = root() / closed;
    const fs::perms before = fs::status(path).permissions();
    fs::permissions(path, fs::perms::none);
    try {
      const Unprivileged nobody;
      scan();
      ADD_FAILURE() << closed;
    } catch (const SystemError& error) {
      EXPECT_THAT(error.what(), HasSubstr(path.string() + ": cannot"));
      EXPECT_THAT(error.what(), HasSubstr("Permission denied"));
    }
    fs::permissions(path, before);
  }
}

}  // namespace
}  // namespace kessoku::data
