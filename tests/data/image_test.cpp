#include "data/image.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "data/parallel.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<Bucket> kTable = bucket_table(64);

class Images : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    initialize_images("image_test", 1);
    folder_ = new tests::TemporaryFolder;
    run_python("make_images.py", folder_->path().string());
  }
  static void TearDownTestSuite() { delete folder_; }

  static FittedImage fit(const std::string& name) {
    return fit_image(folder_->path() / name, kTable);
  }
  static std::vector<int> pixel(const Image& image, int64_t x, int64_t y) {
    const uint8_t* p = &image.pixels[static_cast<size_t>((y * image.width + x) * 3)];
    return {p[0], p[1], p[2]};
  }
  /// Pillow's raw RGB of the picture after `steps` on `i`.
  static std::string pillow(const std::string& name, const std::string& steps) {
    const auto out = folder_->path() / "pillow.rgb";
    run_python_line(
        fmt::format("from PIL import Image, ImageOps\n"
                    "i = Image.open('{}')\n"
                    "{}\n"
                    "open('{}', 'wb').write(i.convert('RGB').tobytes())",
                    (folder_->path() / name).string(), steps, out.string()));
    return read_file(out);
  }
  static double mean_difference(const Image& image, const std::string& rgb) {
    if (image.pixels.size() != rgb.size()) return HUGE_VAL;
    double sum = 0;
    for (size_t i = 0; i < rgb.size(); ++i)
      sum += std::abs(image.pixels[i] - static_cast<uint8_t>(rgb[i]));
    return sum / static_cast<double>(rgb.size());
  }
  static void expect_bad(const std::string& name, const std::string& reason) {
    try {
      fit(name);
      ADD_FAILURE() << name << " was taken";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }
  static tests::TemporaryFolder* folder_;
};
tests::TemporaryFolder* Images::folder_ = nullptr;

TEST_F(Images, OfABucketsSizeAreTakenAsTheyAre) {
  const std::string expected = pillow("exact.png", "");
  for (const char* name : {"exact.png", "small.webp", "plain.bmp", "bad_profile.png"}) {
    EXPECT_EQ(mean_difference(fit(name).image, expected), 0) << name;
  }
  EXPECT_LT(mean_difference(fit("profile.png").image, expected), 1);
  EXPECT_EQ(mean_difference(fit("gray.png").image, pillow("gray.png", "")), 0);
  EXPECT_EQ(mean_difference(fit("palette.png").image, pillow("palette.png", "")), 0);
}

TEST_F(Images, AreCroppedAtTheCentreAndScaledAsPillowDoes) {
  const FittedImage fitted = fit("wide.jpg");
  EXPECT_EQ(to_string(kTable[fitted.bucket]), "80x48");
  EXPECT_EQ(fitted.crop.left, 5);
  EXPECT_EQ(fitted.crop.right, 155);
  EXPECT_EQ(fitted.crop.top, 0);
  EXPECT_EQ(fitted.crop.bottom, 90);
  EXPECT_LT(mean_difference(fitted.image,
                            pillow("wide.jpg", "i = i.crop((5, 0, 155, 90)).resize((80, 48), 1)")),
            1);
  EXPECT_LT(
      mean_difference(fit("large.png").image,
                      pillow("large.png", "i = i.crop((80, 0, 560, 480)).resize((64, 64), 1)")),
      1);
}

TEST_F(Images, AreTurnedByExif) {
  const FittedImage fitted = fit("turned.jpg");
  EXPECT_EQ(fitted.source_width, 90);
  EXPECT_EQ(fitted.source_height, 160);
  EXPECT_EQ(to_string(kTable[fitted.bucket]), "48x80");
  EXPECT_LT(mean_difference(
                fitted.image,
                pillow("turned.jpg",
                       "i = ImageOps.exif_transpose(i).crop((0, 5, 90, 155)).resize((48, 80), 1)")),
            1);
}

TEST_F(Images, PutAlphaOnWhite) {
  EXPECT_THAT(pixel(fit("alpha.png").image, 9, 9), ElementsAre(255, 127, 127));
}

TEST_F(Images, Of16BitsAndOfCmykBecome8BitSrgb) {
  EXPECT_THAT(pixel(fit("deep.png").image, 9, 9), ElementsAre(0x80, 0x80, 0x80));
  EXPECT_EQ(fit("cmyk.jpg").image.pixels.size(), 64u * 64 * 3);
}

TEST_F(Images, OfMovingPicturesAreTheFirstFrame) {
  EXPECT_THAT(pixel(fit("moving.gif").image, 9, 9), ElementsAre(0, 255, 0));
}

TEST_F(Images, ThatAreDamagedNameFileAndReason) {
  expect_bad("cut.jpg", "remature end");
  expect_bad("empty.jpg", "empty");
  expect_bad("text.jpg", "not a JPEG, PNG");
  expect_bad("bomb.png", "million");
  EXPECT_THROW(fit("missing.jpg"), Error);
}

TEST_F(Images, MayBeFittedByManyThreads) {
  const Image expected = fit("large.png").image;
  parallel_for(64, 4, [&](size_t i) {
    if (i % 3 == 0) {
      EXPECT_THROW(fit("cut.jpg"), DataError);
    } else {
      EXPECT_EQ(fit("large.png").image.pixels, expected.pixels);
    }
  });
}

}  // namespace
}  // namespace kessoku::data
