#include <unistd.h>

#include "data/dataset/kohya_latents.h"
#include "tests/data/dataset/dataset_fixture.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Kohya : public DatasetTest {
 protected:
  Kohya() : DatasetTest(Dialect::kKohya) {}
  void python(const std::string& line) {
    run_python_line("import numpy as np; import os; os.chdir('" + root().string() + "'); " + line);
  }
};

TEST_F(Kohya, TakesRepeatsAndWordsFromNamesOfFolders) {
  put("10_bocchi girl/1.png");
  put("3_reg_of it/2.JPG");
  put("1/3.png");
  put("0_never/4.png");
  put("-2_never/4.png");
  put("1.5_never/4.png");
  put("never/4.png");
  put("4.png");
  put("10_bocchi girl/deeper/4.png");
  const Dataset dataset = scan();
  EXPECT_THAT(sources(), ElementsAre("1/3.png", "10_bocchi girl/1.png", "3_reg_of it/2.JPG"));
  EXPECT_EQ(settings("10_bocchi girl/1.png").multiply, 10);
  EXPECT_EQ(caption("10_bocchi girl/1.png"), "bocchi girl");
  EXPECT_EQ(settings("3_reg_of it/2.JPG").multiply, 3);
  EXPECT_EQ(caption("3_reg_of it/2.JPG"), "reg_of it");
  EXPECT_EQ(caption("1/3.png"), "");
  EXPECT_EQ(find(dataset, "10_bocchi girl/1.png").category, 2u);
  EXPECT_EQ(dataset.categories[2].multiply, 10);
  EXPECT_THAT(dataset.warnings, Contains(HasSubstr("not named 'N_name'")));
  EXPECT_THAT(dataset.warnings, Contains(HasSubstr("4.png: an image outside")));
  EXPECT_THAT(dataset.warnings, Contains(HasSubstr("10_bocchi girl/deeper (")));
}

TEST_F(Kohya, TakesTheFirstLineOfACaptionFile) {
  put("2_x/1.png");
  put("2_x/1.txt", " from txt, tag\nsecond\n");
  EXPECT_EQ(caption("2_x/1.png"), "from txt, tag");
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("2_x/1.txt: only the first line")));
  put("2_x/1.caption", "from caption");
  EXPECT_EQ(caption("2_x/1.png"), "from caption");
  put("2_x/1.caption", "");
  EXPECT_EQ(caption("2_x/1.png"), "x");
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("2_x/1.caption: empty"),
                                      HasSubstr("2_x/1.txt: beside an image, but not used")));
}

TEST_F(Kohya, KeepsTheCaptionOfAnImageWhoseFacesWereFound) {
  put("1_x/photo_1_20_30_64_64.png");
  put("1_x/photo_1.txt", "a face");
  EXPECT_EQ(caption("1_x/photo_1_20_30_64_64.png"), "a face");
}

TEST_F(Kohya, SaysWhatFoldersItWants) {
  put("bocchi/1.png");
  try {
    scan();
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("10_name"));
  }
}

TEST_F(Kohya, ReadsMetadata) {
  put("a/1.png");
  put("a/2.webp");
  put("b/3.png");
  put("meta.json", fmt::format(R"({{
    "a/1.png": {{"caption": "one", "tags": "x, y", "image_size": [64, 64]}},
    "a/2": {{"tags": "only tags"}},
    "{}": {{"caption": null}},
    "gone.png": {{"caption": "gone"}}
  }})",
                               (root() / "b/3.png").string()));
  const Dataset dataset = scan_file("meta.json");
  ASSERT_EQ(dataset.examples.size(), 3u);
  EXPECT_EQ(find(dataset, "a/1.png").caption, "one, x, y");
  EXPECT_EQ(find(dataset, "a/2.webp").caption, "only tags");
  EXPECT_EQ(find(dataset, "b/3.png").caption, "");
  ASSERT_EQ(dataset.skipped.size(), 1u);
  EXPECT_THAT(dataset.skipped[0].reason, HasSubstr("meta.json:5"));
}

TEST_F(Kohya, ReadsMetadataOfALineAnImage) {
  put("1.png");
  put("meta.jsonl",
      "{\"image_path\": \"1.png\", \"caption\": \"one\", \"image_size\": [1, 2]}\n\n");
  EXPECT_EQ(find(scan_file("meta.jsonl"), "1.png").caption, "one");
  put("meta.jsonl", "{\"image_path\": \"1.png\"}\n{\"image_path\": ");
  expect_refused({"meta.jsonl:2: not JSON"}, "meta.jsonl");
  put("meta.jsonl", "{\"image_path\": \"1.png\"}\n{\"caption\": \"x\"}");
  expect_refused({"meta.jsonl:2: an entry without 'image_path'"}, "meta.jsonl");
  put("meta.json", "[]");
  expect_refused({"meta.json:1", "map"}, "meta.json");
  put("meta.json", "{\n\"1.png\": {\"caption\": [1]}}");
  expect_refused({"meta.json:2: caption must be a text"}, "meta.json");
}

TEST_F(Kohya, FindsLatentsBesideTheirImages) {
  for (const char* name :
       {"old.png", "new.png", "twice.png", "shape.png", "broken.png", "packed.png", "xl.png"}) {
    put(fmt::format("1_x/{}", name));
  }
  python(
      "z = lambda w, h: dict(latents=np.ones((4, h, w), np.float32), original_size=[8, 8], "
      "crop_ltrb=[0, 0, 8, 8]); os.chdir('1_x'); np.savez('old.npz', **z(5, 6)); "
      "np.savez('old_0064x0064_sd.npz', **z(9, 9)); np.savez('new_1280x0720_sd.npz', **z(80, 48)); "
      "np.savez('twice_0001x0001_sd.npz', **z(1, 1)); np.savez('twice_0002x0001_sd.npz', **z(2, "
      "1)); "
      "np.savez('shape.npz', latents=np.ones((1, 4, 8, 8), np.float32)); "
      "open('broken.npz', 'w').write('PK'); np.savez_compressed('packed.npz', **z(8, 8)); "
      "np.savez('xl_0064x0064_sdxl.npz', **z(8, 8))");
  const Dataset dataset = scan();
  EXPECT_EQ(find(dataset, "1_x/old.png").latents, "1_x/old.npz");
  EXPECT_EQ(find(dataset, "1_x/old.png").size, (Bucket{40, 48}));
  EXPECT_EQ(find(dataset, "1_x/new.png").latents, "1_x/new_1280x0720_sd.npz");
  EXPECT_EQ(find(dataset, "1_x/new.png").size, (Bucket{640, 384}));
  for (const char* name : {"twice.png", "shape.png", "broken.png", "packed.png", "xl.png"}) {
    EXPECT_EQ(find(dataset, fmt::format("1_x/{}", name)).latents, "") << name;
    EXPECT_EQ(find(dataset, fmt::format("1_x/{}", name)).size, std::nullopt) << name;
  }
  EXPECT_THAT(dataset.warnings,
              Contains(HasSubstr("1_x/twice_0001x0001_sd.npz: latents of several")));
  EXPECT_THAT(
      dataset.warnings,
      Contains(HasSubstr("1_x/shape.npz: latents not used: latents of shape (1, 4, 8, 8)")));
  EXPECT_THAT(dataset.warnings, Contains(HasSubstr("1_x/broken.npz: latents not used")));
  EXPECT_THAT(dataset.warnings,
              Contains(HasSubstr("1_x/packed.npz: latents not used: the ZIP archive holds")));
}

TEST_F(Kohya, LeavesLatentsOlderThanTheirImage) {
  put("1_x/1.png");
  python("np.savez('1_x/1.npz', latents=np.ones((4, 8, 8), np.float32))");
  EXPECT_EQ(find(scan(), "1_x/1.png").latents, "1_x/1.npz");
  fs::last_write_time(root() / "1_x/1.npz",
                      fs::last_write_time(root() / "1_x/1.png") - std::chrono::hours(1));
  EXPECT_EQ(find(scan(), "1_x/1.png").latents, "");
  EXPECT_THAT(warnings(), ElementsAre(HasSubstr("1_x/1.npz: latents older than their image")));
}

TEST_F(Kohya, MetadataFindsLatentsToo) {
  put("a/1.png");
  put("meta.jsonl", "{\"image_path\": \"a/1.png\", \"caption\": \"one\"}");
  python("np.savez('a/1_0064x0064_sd.npz', latents=np.ones((4, 8, 8), np.float32))");
  EXPECT_EQ(find(scan_file("meta.jsonl"), "a/1.png").latents, "a/1_0064x0064_sd.npz");
}

}  // namespace
}  // namespace kessoku::data
