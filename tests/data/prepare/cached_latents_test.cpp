// Latents of kohya's scripts on their way into a store.
#include "data/prepare/cached_latents.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "data/images/fit_image.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ReadyLatents : public ::testing::Test {
 protected:
  void SetUp() override {
    initialize_images("ready_latents_test", 1);
    fs::create_directories(folder());
    run_python_line(
        fmt::format("import os, numpy as np; from PIL import Image; os.chdir('{}'); "
                    "[Image.new('RGB', (64, 64), (i, 0, 0)).save(f'{{i}}.png') for i in range(2)]; "
                    "np.savez('0.npz', latents=np.arange(256, dtype='f4').reshape(4, 8, 8), "
                    "original_size=[64, 64], "
                    "crop_ltrb=[0, 0, 64, 64])",
                    folder().string()));
    for (const char* caption : {"0.txt", "1.txt"}) write_text(folder() / caption, "x");
    options_.dataset = work_.path() / "set";
    options_.reading.dialect = Dialect::kKohya;
    options_.store = work_.path() / "store";
    options_.resolution = 64;
    options_.keep = {Kind::kLatents};
    options_.threads = 1;
    options_.encoder = {"0123", 0.5};
    options_.encode = [this](const at::Tensor& images) {
      ++encoded_;
      const at::Tensor mean = images.slice(2, 0, std::nullopt, 8).slice(3, 0, std::nullopt, 8);
      return at::cat({mean, mean, mean.slice(1, 0, 2)}, 1);
    };
  }
  fs::path folder() const { return work_.path() / "set/1_x"; }

  bool has_ready_latents() const {
    const Store store(options_.store);
    const at::Tensor row = at::empty(store.shape(0, Kind::kLatents), at::kHalf);
    store.read(0, Kind::kLatents, 0, row);
    return at::equal(row.to(at::kFloat), at::arange(256, at::kFloat).view({4, 8, 8}));
  }

  tests::TemporaryFolder work_;
  PrepareOptions options_;
  int encoded_ = 0;
};

TEST_F(ReadyLatents, StandForEncodingTheirImage) {
  const PrepareSummary summary = prepare_store(options_);
  EXPECT_EQ(summary.examples, 2u);
  EXPECT_THAT(summary.warnings, IsEmpty());
  EXPECT_EQ(encoded_, 1);
  EXPECT_TRUE(has_ready_latents());
  EXPECT_EQ(Store(options_.store).provenance(0).source_width, 64u);
  EXPECT_TRUE(prepare_store(options_).unchanged);
}

TEST_F(ReadyLatents, ThatAreNewerThanTheStoreReplaceItsRow) {
  fs::rename(folder() / "0.npz", work_.path() / "later.npz");
  prepare_store(options_);
  EXPECT_EQ(encoded_, 2);
  EXPECT_FALSE(has_ready_latents());
  fs::rename(work_.path() / "later.npz", folder() / "0.npz");
  fs::last_write_time(folder() / "0.npz", fs::file_time_type::clock::now());
  const PrepareSummary summary = prepare_store(options_);
  EXPECT_FALSE(summary.unchanged);
  EXPECT_EQ(summary.reused, 1u);
  EXPECT_TRUE(has_ready_latents());
  fs::remove(folder() / "0.npz");
  prepare_store(options_);
  EXPECT_EQ(encoded_, 3);
  EXPECT_FALSE(has_ready_latents());
}

TEST_F(ReadyLatents, AreLeftOutOfStoresThatKeepMore) {
  options_.keep = {Kind::kMoments};
  EXPECT_THAT(prepare_store(options_).warnings,
              ElementsAre(HasSubstr("latents beside 1 images are not used: the store is to keep")));
  EXPECT_EQ(encoded_, 2);
}

TEST_F(ReadyLatents, AreLeftOutIfNoBucketHasTheirSize) {
  options_.fit.table = {{64, 32}};
  EXPECT_THAT(prepare_store(options_).warnings, ElementsAre(HasSubstr("no buckets")));
  EXPECT_EQ(encoded_, 2);
}

TEST(WarnOfFlips, WhereLatentsCannotBeMirrored) {
  PrepareOptions options;
  options.keep = {Kind::kMoments};
  Dataset dataset{.settings = {{}, {.flip = 0.5}}};
  warn_of_flips(dataset, options);
  EXPECT_THAT(dataset.warnings, ElementsAre(HasSubstr("--variants 2")));
  dataset.warnings.clear();
  options.fit.variants = 2;
  warn_of_flips(dataset, options);
  EXPECT_THAT(dataset.warnings, IsEmpty());
  options.fit.variants = 1;
  dataset = {.settings = {{}, {.flip = 0}}};
  warn_of_flips(dataset, options);
  EXPECT_THAT(dataset.warnings, IsEmpty());
}

TEST_F(ReadyLatents, ThatAreDamagedAreMadeAnew) {
  std::string bytes = read_file(folder() / "0.npz");
  bytes[500] ^= 1;
  write_text(folder() / "0.npz", bytes);
  EXPECT_THAT(prepare_store(options_).warnings,
              ElementsAre(AllOf(HasSubstr("the image is encoded"), HasSubstr("checksum"))));
  EXPECT_EQ(encoded_, 2);
  EXPECT_FALSE(has_ready_latents());
}

}  // namespace
}  // namespace kessoku::data
