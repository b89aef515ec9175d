#include "data/images/image.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "data/images/fit_image.h"
#include "data/images/image_file.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const FitOptions kOptions{.table = bucket_table(64)};

class Images : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    initialize_images("image_test", 1);
    folder_ = new tests::TemporaryFolder;
    run_python("images/make_images.py", folder_->path().string() + " all");
  }
  static void TearDownTestSuite() { delete folder_; }

  static FittedImage fit(const std::string& name, const FitOptions& options = kOptions) {
    return fit_image(folder_->path() / name, options);
  }
  static Image image(const std::string& name) { return std::move(fit(name).variants[0]); }
  static std::vector<int> pixel(const Image& image, int64_t x, int64_t y) {
    const uint8_t* p = &image.pixels[static_cast<size_t>((y * image.width + x) * 3)];
    return {p[0], p[1], p[2]};
  }
  /// Pillow's raw RGB of images, one `steps` on `i` for each of `names`.
  static std::vector<std::string> pillow(const std::vector<std::string>& names,
                                         const std::string& steps) {
    std::string script =
        "from PIL import Image, ImageCms, ImageOps\n"
        "import io\n"
        "srgb = ImageCms.createProfile('sRGB')\n"
        "def managed(i):\n"
        "  p = ImageCms.ImageCmsProfile(io.BytesIO(i.info['icc_profile']))\n"
        "  return ImageCms.profileToProfile(i, p, srgb, renderingIntent=1, outputMode='RGB')\n";
    for (const std::string& name : names) {
      script += fmt::format(
          "i = Image.open('{}')\n{}\nopen('{}', 'wb').write(i.convert('RGB').tobytes())\n",
          (folder_->path() / name).string(), steps, (folder_->path() / (name + ".rgb")).string());
    }
    run_python_line(script);
    std::vector<std::string> results;
    for (const std::string& name : names)
      results.push_back(read_file(folder_->path() / (name + ".rgb")));
    return results;
  }
  static std::string pillow(const std::string& name, const std::string& steps) {
    return pillow(std::vector{name}, steps).at(0);
  }
  static double mean_difference(const Image& image, const std::string& rgb) {
    if (image.pixels.size() != rgb.size()) return HUGE_VAL;
    double sum = 0;
    for (size_t i = 0; i < rgb.size(); ++i)
      sum += std::abs(image.pixels[i] - static_cast<uint8_t>(rgb[i]));
    return sum / static_cast<double>(rgb.size());
  }
  static double psnr(const Image& image, const std::string& rgb) {
    if (image.pixels.size() != rgb.size()) return 0;
    double sum = 0;
    for (size_t i = 0; i < rgb.size(); ++i)
      sum += std::pow(image.pixels[i] - static_cast<uint8_t>(rgb[i]), 2);
    return 10 * std::log10(255.0 * 255 * static_cast<double>(rgb.size()) / sum);
  }
  static void expect_bad(const std::string& name, const std::string& reason,
                         const FitOptions& options = kOptions) {
    try {
      fit(name, options);
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
  for (const char* name :
       {"exact.png", "small.webp", "plain.bmp", "bad_profile.png", "png_called.jpg", "page.tiff",
        "packed.tiff", "moving.webp", "moving.png"}) {
    EXPECT_EQ(mean_difference(image(name), expected), 0) << name;
  }
  EXPECT_LT(mean_difference(image("profile.png"), expected), 1);
  const std::vector<std::string> names{"gray.png", "palette.png", "bits.png", "gray_alpha.png"};
  const std::vector<std::string> all = pillow(names, "");
  for (size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(mean_difference(image(names[i]), all[i]), 0) << names[i];
  EXPECT_LT(mean_difference(image("still.avif"), pillow("still.avif", "")), 1);
}

TEST_F(Images, AreCroppedAtTheCenterAndScaledAsPillowDoes) {
  const FittedImage fitted = fit("wide.jpg");
  EXPECT_EQ(to_string(kOptions.table[fitted.bucket]), "80x48");
  EXPECT_EQ(fitted.crops[0], (Crop{5, 0, 155, 90}));
  EXPECT_LT(mean_difference(fitted.variants[0],
                            pillow("wide.jpg", "i = i.crop((5, 0, 155, 90)).resize((80, 48), 1)")),
            0.5);
  EXPECT_LT(
      mean_difference(image("large.png"),
                      pillow("large.png", "i = i.crop((80, 0, 560, 480)).resize((64, 64), 1)")),
      0.5);
}

TEST_F(Images, AreTurnedByExif) {
  const std::string upright =
      "i = ImageOps.exif_transpose(i).crop((5, 0, 155, 90)).resize((80, 48), 1)";
  const std::string turned =
      "i = ImageOps.exif_transpose(i).crop((0, 5, 90, 155)).resize((48, 80), 1)";
  const auto names = [](std::vector<int> turns) {
    std::vector<std::string> names;
    for (const int turn : turns) names.push_back(fmt::format("turned{}.jpg", turn));
    return names;
  };
  const auto expect = [&](const std::vector<std::string>& names, const std::string& steps,
                          int64_t width, const std::string& bucket) {
    const std::vector<std::string> expected = pillow(names, steps);
    for (size_t i = 0; i < names.size(); ++i) {
      const FittedImage fitted = fit(names[i]);
      EXPECT_EQ(fitted.source_width, width) << names[i];
      EXPECT_EQ(to_string(kOptions.table[fitted.bucket]), bucket) << names[i];
      EXPECT_LT(mean_difference(fitted.variants[0], expected[i]), 0.5) << names[i];
    }
  };
  expect(names({0, 1, 2, 3, 4, 9}), upright, 160, "80x48");
  expect(names({5, 6, 7, 8}), turned, 90, "48x80");
  EXPECT_LT(mean_difference(image("turned6.png"), pillow("turned6.png", turned)), 0.5);
}

// Shrinking by 2 to 8 while the JPEG is decoded must not be seen.
TEST_F(Images, OfCamerasAreScaledAsWellAsByPillow) {
  for (const int64_t resolution : {64, 96, 160, 256, 512}) {
    const FitOptions options{.table = {{resolution * 4 / 3 / 8 * 8, resolution}}};
    const FittedImage fitted = fit("camera.jpg", options);
    const Crop crop = fitted.crops[0];
    const std::string expected =
        pillow("camera.jpg", fmt::format("i = i.crop(({}, {}, {}, {})).resize(({}, {}), 1)",
                                         crop.left, crop.top, crop.right, crop.bottom,
                                         fitted.variants[0].width, fitted.variants[0].height));
    const double quality = psnr(fitted.variants[0], expected);
    RecordProperty(fmt::format("psnr_{}", resolution), fmt::format("{:.1f}", quality));
    EXPECT_GT(quality, 40) << resolution;
  }
  const FitOptions turned{.table = {{96, 128}}};
  const FittedImage fitted = fit("camera_turned.jpg", turned);
  const Crop crop = fitted.crops[0];
  EXPECT_GT(psnr(fitted.variants[0],
                 pillow("camera_turned.jpg",
                        fmt::format("i = ImageOps.exif_transpose(i).crop(({}, {}, {}, {}))"
                                    ".resize((96, 128), 1)",
                                    crop.left, crop.top, crop.right, crop.bottom))),
            40);
}

TEST_F(Images, SmallerThanTheBucketAreScaledUp) {
  const FitOptions options{.table = {{256, 256}}};
  EXPECT_LT(mean_difference(fit("exact.png", options).variants[0],
                            pillow("exact.png", "i = i.resize((256, 256), 1)")),
            0.5);
}

TEST_F(Images, AreNotConvertedByProfilesOfOtherNumbersThanTheirs) {
  const std::string expected = pillow("exact.png", "");
  for (const char* name : {"lab_profile", "gray_in_color"}) {
    EXPECT_EQ(mean_difference(image(fmt::format("{}.png", name)), expected), 0) << name;
    const std::string jpeg = fmt::format("{}.jpg", name);
    EXPECT_LT(mean_difference(image(jpeg), pillow(jpeg, "")), 0.5) << name;
  }
}

TEST_F(Images, OfFloatsFrom0To1Or0To255AreTheSame) {
  const std::string expected = pillow("exact.png", "");
  EXPECT_EQ(mean_difference(image("float.tiff"), expected), 0);
  EXPECT_EQ(mean_difference(image("float_255.tiff"), expected), 0);
  EXPECT_EQ(mean_difference(image("float_gray.tif"), pillow("exact.png", "i = i.getchannel(0)")),
            0);
  EXPECT_EQ(mean_difference(image("float_alpha.tiff"),
                            pillow("exact.png", "i.paste((255, 255, 255), (32, 0, 64, 64))")),
            0);
  expect_bad("float_beyond.tiff", "not 0 to 1 or 0 to 255");
  expect_bad("float_nan.tiff", "not 0 to 1 or 0 to 255");
  expect_bad("int.tiff", "channels of 32 bits");
}

TEST_F(Images, AreConvertedByTheirProfiles) {
  const std::vector<std::string> names{"wide_profile.jpg", "wide_profile.png", "wide_profile.webp",
                                       "gray_profile.jpg", "cmyk_profile.jpg", "cmyk_profile.tiff"};
  const std::vector<std::string> managed =
      pillow(names, "i = managed(i).crop((5, 0, 155, 90)).resize((80, 48), 1)");
  const std::vector<std::string> unmanaged =
      pillow(names, "i = i.crop((5, 0, 155, 90)).convert('RGB').resize((80, 48), 1)");
  for (size_t i = 0; i < names.size(); ++i) {
    const Image converted = image(names[i]);
    EXPECT_LT(mean_difference(converted, managed[i]), 1) << names[i];
    EXPECT_GT(mean_difference(converted, unmanaged[i]), 4) << names[i];
  }
}

TEST_F(Images, PutAlphaOnTheBackground) {
  EXPECT_THAT(pixel(image("alpha.png"), 9, 9), ElementsAre(255, 127, 127));
  FitOptions options = kOptions;
  options.background = {0, 0, 255};
  EXPECT_THAT(pixel(fit("alpha.png", options).variants[0], 9, 9), ElementsAre(128, 0, 127));
  EXPECT_THAT(pixel(fit("deep_alpha.png", options).variants[0], 9, 9), ElementsAre(127, 0, 128));
  EXPECT_THAT(pixel(fit("gray_clear.png", options).variants[0], 9, 9), ElementsAre(0, 0, 255));
}

TEST_F(Images, Of16BitsAndOfCmykBecome8BitSrgb) {
  EXPECT_THAT(pixel(image("deep.png"), 9, 9), ElementsAre(0x80, 0x80, 0x80));
  EXPECT_LT(mean_difference(image("cmyk.jpg"), pillow("cmyk.jpg", "")), 40);
}

TEST_F(Images, OfMovingImagesAreTheFirstFrame) {
  EXPECT_THAT(pixel(image("moving.gif"), 9, 9), ElementsAre(0, 255, 0));
}

TEST_F(Images, ThatAreDamagedNameFileAndReason) {
  expect_bad("cut.jpg", "Premature end of JPEG file");
  expect_bad("empty.jpg", "empty");
  expect_bad("text.jpg", "not a JPEG, PNG");
  for (const char* name : {"cut.png", "cut.webp", "cut.gif", "cut.tiff", "cut.avif", "cut.bmp",
                           "hurt_noisy.png", "hurt_noisy.jpg", "hurt_noisy_progressive.jpg"}) {
    expect_bad(name, "");
  }
  EXPECT_THROW(fit("missing.jpg"), Error);
  EXPECT_EQ(image("extra.jpg").pixels, image("noisy.jpg").pixels) << "bytes of no pixel do no harm";
}

TEST_F(Images, ThatAreDamagedNameTheirOwnReasonWhateverOthersLeft) {
  const auto reason_of = [](const char* name) -> std::string {
    try {
      fit(name);
      return "none";
    } catch (const DataError& error) {
      return error.what();
    }
  };
  const std::vector<const char*> names{"cut.png", "cut.webp", "cut.gif", "cut.tiff", "cut.avif"};
  std::map<std::string, std::string> alone;
  for (const char* name : names) {
    alone[name] = reason_of(name);
    EXPECT_THAT(alone[name], HasSubstr("cannot be decoded: "));
  }
  for (const char* other : {"noisy.gif", "noisy.avif", "noisy.tiff", "noisy.webp", "noisy.png"}) {
    for (const char* name : names) {
      fit(other);  // a sound one may leave something, too
      EXPECT_EQ(reason_of(name), alone[name]) << "after " << other;
    }
  }
}

TEST_F(Images, OfTooManyPixelsAreRefusedByTheirHeader) {
  expect_bad("bomb.png", "60000x60000 pixels");
  FitOptions options = kOptions;
  options.most_pixels = 160 * 90 - 1;
  for (const char* name : {"noisy.jpg", "noisy.png", "noisy.webp", "noisy.gif", "noisy.tiff",
                           "noisy.avif", "noisy.bmp"}) {
    expect_bad(name, "160x90 pixels are more than the 14399", options);
  }
  options.most_pixels = 160 * 90;
  EXPECT_EQ(fit("noisy.jpg", options).source_width, 160);
}

TEST_F(Images, MayBeFittedByManyThreads) {
  const Image expected = image("large.png");
  parallel_for(64, 4, [&](size_t i) {
    if (i % 3 == 0) {
      EXPECT_THROW(fit(i % 2 == 0 ? "cut.jpg" : "cut.png"), DataError);
    } else {
      EXPECT_EQ(image("large.png").pixels, expected.pixels);
    }
  });
}

TEST_F(Images, HaveVariantsThatAreCropsAndMirrorImages) {
  FitOptions options = kOptions;
  options.variants = 5;
  const std::string encoded = read_image_file(folder_->path() / "large.png");
  const FittedImage fitted = fit_image(encoded, "large", options, 7);
  ASSERT_EQ(fitted.variants.size(), 5u);
  EXPECT_EQ(fitted.variants[0].pixels, image("large.png").pixels);
  EXPECT_EQ(fitted.crops[1], fitted.crops[0]);
  EXPECT_EQ(fitted.crops[3], fitted.crops[2]);
  EXPECT_NE(fitted.crops[2], fitted.crops[0]);
  EXPECT_NE(fitted.crops[4], fitted.crops[2]);
  for (const size_t plain : {0, 2}) {
    for (int64_t x = 0; x < 64; ++x) {
      EXPECT_EQ(pixel(fitted.variants[plain], x, 20),
                pixel(fitted.variants[plain + 1], 63 - x, 20));
    }
  }
  const FittedImage again = fit_image(encoded, "large", options, 7);
  EXPECT_EQ(again.crops, fitted.crops);
  EXPECT_NE(fit_image(encoded, "large", options, 8).crops, fitted.crops);
}

}  // namespace
}  // namespace kessoku::data
