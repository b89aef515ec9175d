#include "data/captions/caption_parts.h"
#include "tests/data/dataset/dataset_fixture.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EveryDream2 : public DatasetTest {
 protected:
  EveryDream2() : DatasetTest(Dialect::kEveryDream2) {}
  std::vector<CaptionPart> parts(const std::string& source) const {
    const Dataset dataset = scan();
    const Example& example = find(dataset, source);
    return caption_parts(example.caption, example.caption_parts);
  }
};

// The example of reference/finetuners.md, §1.1, which the original was run on.
TEST_F(EveryDream2, MergesCaptionsAsTheOriginalDoes) {
  put("sub/x.png");
  put("sub/x.txt", "  bocchi , 1girl, 1girl, guitar\nsecond line, foo");
  put("sub/x.yaml", "main_prompt: ymain\ntags: [{tag: hi, weight: 2.0}, lo]\n");
  put("global.yaml", "tags: [gtag]\nmultiply: 3\n");
  EXPECT_EQ(caption("sub/x.png"), "ymain, hi, lo, 1girl, guitar\nsecond line, foo, gtag");
  EXPECT_EQ(settings("sub/x.png").multiply, 3);
  EXPECT_THAT(parts("sub/x.png"), Contains(CaptionPart{"hi", 2}));
  EXPECT_THAT(warnings(), ElementsAre("sub/x.png: several main prompts, the first is used (as "
                                      "EveryDream2 does)"));
}

TEST_F(EveryDream2, TakesTheFileNameWhereNothingElseGivesAPrompt) {
  put("a girl,  guitar_01.png");
  EXPECT_EQ(caption("a girl,  guitar_01.png"), "a girl, guitar");
  EXPECT_THAT(warnings(), IsEmpty());
  put("a girl,  guitar_01.caption", " \n");
  EXPECT_EQ(caption("a girl,  guitar_01.png"), "a girl, guitar");
  put("a girl,  guitar_01.yaml", "tags: [solo]");
  EXPECT_EQ(caption("a girl,  guitar_01.png"), "a girl, guitar, solo");
  put("a girl,  guitar_01.txt", "\xEF\xBB\xBF　a text,tag,, tag\r\n");
  EXPECT_EQ(caption("a girl,  guitar_01.png"), "a text, solo, tag");
}

TEST_F(EveryDream2, WarnsWhereAnUnderscoreCutsTheNameOfAnImage) {
  put("bocchi_(the_rock).png");
  EXPECT_EQ(caption("bocchi_(the_rock).png"), "bocchi");
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("bocchi_(the_rock).png: the caption is the file "
                                                "name up to its first underscore")));
}

TEST_F(EveryDream2, ReadsCaptionsOfOtherEncodings) {
  put("a.png");
  put("a.txt", "caf\xE9");
  EXPECT_EQ(caption("a.png"), "café");
  EXPECT_THAT(warnings(), ElementsAre("a.txt: not UTF-8, read as Windows-1252; save it as UTF-8"));
  put("a.txt", std::string("\xFF\xFE\x50\x7D,\0 \0x\0", 10));
  EXPECT_EQ(caption("a.png"), "結, x");
}

TEST_F(EveryDream2, PerFolderFilesHoldForTheirOwnFolderOnly) {
  put("a/1.png");
  put("a/b/2.png");
  put("a/multiply.txt", " 2.5\n");
  put("a/cond_dropout.txt", "0");
  put("a/flip_p.txt", "0.5");
  put("a/batch_id.txt", "night\n");
  put("a/loss_scale.txt", "-0.5");
  put("a/shuffle_tags.txt", "");
  const Settings expected{.multiply = 2.5,
                          .caption_dropout = 0,
                          .flip = 0.5,
                          .loss_scale = -0.5,
                          .shuffle_tags = true,
                          .batch_id = "night"};
  EXPECT_EQ(settings("a/1.png"), expected);
  EXPECT_EQ(settings("a/b/2.png"), Settings{});
  const Dataset dataset = scan();
  EXPECT_EQ(dataset.categories[1].multiply, 2.5);
  EXPECT_EQ(dataset.categories[1].caption_dropout, 0.0);
  EXPECT_EQ(dataset.categories[1].flip, 0.5);
  EXPECT_EQ(dataset.categories[2].caption_dropout, std::nullopt);
  EXPECT_THAT(warnings(), IsEmpty());
}

TEST_F(EveryDream2, NearerSourcesWin) {
  put("global.yaml",
      "multiply: 2\ncond_dropout: 0.2\nflip_p: 0.2\nbatch_id: g\nloss_scale: 2\n"
      "shuffle_tags: true\nmax_caption_length: 200");
  put("a/b/1.png");
  put("a/b/2.png");
  put("a/local.yaml", "multiply: 9");  // of another folder
  put("a/b/global.yml", "cond_dropout: 0.3");
  put("a/b/multiply.txt", "4");
  put("a/b/batch_id.txt", "t");
  put("a/b/loss_scale.txt", "3");
  put("a/b/local.yaml", "multiply: 5\nbatch_id: y\nloss_scale: 9\nshuffle_tags: false");
  put("a/b/2.yaml", "multiply: 6\nbatch_id: z\nflip_p: 0");
  EXPECT_EQ(settings("a/b/1.png"), (Settings{.multiply = 5,
                                             .caption_dropout = 0.3,
                                             .flip = 0.2,
                                             .loss_scale = 3,
                                             .shuffle_tags = true,
                                             .longest_caption = 200,
                                             .batch_id = "t"}));
  EXPECT_EQ(settings("a/b/2.png").multiply, 6);
  EXPECT_EQ(settings("a/b/2.png").batch_id, "z");
  EXPECT_EQ(settings("a/b/2.png").flip, 0.0);
}

TEST_F(EveryDream2, DoesAsTheGuideSaysWhereTheOriginalDoesNot) {
  put("a/1.png");
  put("a/multiply.txt", "0");
  put("a/1.yaml", "cond_droput: 0.05\ntags: one, two\nmultply: 3");
  EXPECT_EQ(settings("a/1.png").multiply, 0);
  EXPECT_EQ(settings("a/1.png").caption_dropout, 0.05);
  EXPECT_EQ(caption("a/1.png"), "1, one, two");
  EXPECT_THAT(
      warnings(),
      ElementsAre(
          HasSubstr("a: multiply 0, so its images are never drawn (EveryDream2 "
                    "would read 1)"),
          HasSubstr("a/1.yaml:1: cond_droput"), HasSubstr("a/1.yaml:2: tags is a text"),
          HasSubstr("a/1.yaml:3: unknown key 'multply' ignored; did you mean 'multiply'?")));
}

TEST_F(EveryDream2, RefusesMalformedNumbersNamingFileAndLine) {
  put("a/1.png");
  for (const char* text : {"", "two", "0,5", "-1", "nan", "inf", "1e999", "1 2", "+", "+-1"}) {
    put("a/multiply.txt", text);
    expect_refused({"a/multiply.txt:1: '"});
  }
  put("a/multiply.txt", "+1.5");
  put("a/flip_p.txt", "1.5");
  expect_refused({"a/flip_p.txt:1", "from 0 to 1"});
  fs::remove(root() / "a/flip_p.txt");
  const std::vector<std::pair<std::string, std::string>> yamls{
      {"\nmultiply: many", ":2: multiply must be"},
      {"multiply: -1", ":1: multiply"},
      {"cond_dropout: 1.01", "cond_dropout"},
      {"loss_scale: .inf", "loss_scale"},
      {"tags: {a: 1}", "tags must be a list"},
      {"tags:\n- - a", ":2: a tag must be a text"},
      {"tags:\n- tag: a\n  weight: -1", ":3: weight"},
      {"- 1", "not a map"},
      {"multiply: [1]", "multiply"},
      {"shuffle_tags: maybe", "true or false"},
      {"main_prompt: {a: b}", "main_prompt"},
      {"tags:\n- weight: 1", "needs the key 'tag'"}};
  for (const auto& [yaml, says] : yamls) {
    put("a/1.yaml", yaml);
    expect_refused({"a/1.yaml", says});
  }
}

TEST_F(EveryDream2, OrdersTagsByWeightAndKeepsTheirParts) {
  put("1.png");
  put("1.yaml",
      "main_prompt: [a girl, standing]\n"
      "tags:\n- low\n- {tag: 'high, higher', weight: 1.5}\n- {tag: least, weight: 0}\n"
      "- ~\n- yes\nmax_caption_length: 40\n");
  EXPECT_EQ(caption("1.png"), "a girl, high, higher, low, yes, least");
  EXPECT_THAT(parts("1.png"),
              ElementsAre(CaptionPart{"a girl"}, CaptionPart{"high, higher", 1.5},
                          CaptionPart{"low"}, CaptionPart{"yes"}, CaptionPart{"least", 0}));
  EXPECT_EQ(settings("1.png").longest_caption, 40u);
}

TEST_F(EveryDream2, ReadsAListOfImages) {
  put("a/1.png");
  put("2.png");
  put("caption.yaml", "main_prompt: from a file\ntags: [t]");
  fs::create_directories(root() / "elsewhere");
  put("set.json", fmt::format(R"([
    {{"image": "./a/1.png", "main_prompt": "one", "tags": ["x", {{"tag": "y", "weight": 2}}], "multiply": 0.5}},
    {{"image": "2.png", "caption": "two, tag"}},
    {{"image": "{}", "caption": "caption.yaml"}},
    {{"image": "2.png", "caption": {{"caption": {{"main_prompt": "deep"}}, "flip_p": 0.25}}}},
    {{"main_prompt": "no image"}},
    {{"image": "gone.png", "main_prompt": "gone"}}
  ])",
                              (root() / "2.png").string()));
  const Dataset dataset = scan_file("set.json");
  ASSERT_EQ(dataset.examples.size(), 4u);
  EXPECT_EQ(dataset.examples[0].source, "2.png");
  EXPECT_EQ(dataset.examples[0].caption, "two, tag");
  EXPECT_EQ(dataset.examples[1].source, "2.png");
  EXPECT_EQ(dataset.examples[1].caption, "from a file, t");
  EXPECT_EQ(dataset.examples[2].caption, "deep");
  EXPECT_EQ(dataset.settings[dataset.examples[2].settings].flip, 0.25);
  EXPECT_EQ(dataset.examples[3].source, "a/1.png");
  EXPECT_EQ(dataset.examples[3].caption, "one, y, x");
  EXPECT_EQ(dataset.settings[dataset.examples[3].settings].multiply, 0.5);
  EXPECT_EQ(dataset.categories[dataset.examples[3].category].path, "a");
  EXPECT_THAT(dataset.warnings, ElementsAre(HasSubstr("set.json:6: an entry without 'image'")));
  ASSERT_EQ(dataset.skipped.size(), 1u);
  EXPECT_THAT(dataset.skipped[0].reason, HasSubstr("set.json:7"));
}

TEST_F(EveryDream2, RefusesADamagedListNamingTheLine) {
  put("1.png");
  put("set.json", "[\n{\"image\": \"1.png\"},\n{\"image\": }]");
  expect_refused({"set.json:3: not JSON"}, "set.json");
  put("set.json", "{\"image\": \"1.png\"}");
  expect_refused({"set.json:1: ", "list"}, "set.json");
  put("set.json", "[{\"image\": \"1.png\",\n \"multiply\": \"much\"}]");
  expect_refused({"set.json:2: multiply"}, "set.json");
}

// A text must never make the program read a file outside the dataset.
TEST_F(EveryDream2, CaptionsNameNoFilesOutsideTheDataset) {
  put("1.png");
  write_text(folder_.path() / "secret.txt", "secret");
  fs::create_symlink("../secret.txt", root() / "link.txt");
  put("set.json", fmt::format(R"([{{"image": "1.png", "caption": "../secret.txt"}},
                                  {{"image": "1.png", "caption": "{}"}},
                                  {{"image": "1.png", "caption": "link.txt"}}])",
                              (folder_.path() / "secret.txt").string()));
  for (const Example& example : scan_file("set.json").examples)
    EXPECT_THAT(example.caption, HasSubstr(".txt"));
}

}  // namespace
}  // namespace kessoku::data
