// Images as `kessoku sample` reads and writes them: decoded, scaled, tiled into grids, PNGs with
// text.
#include <gmock/gmock.h>

#include "base/error.h"
#include "data/images/grid.h"
#include "data/images/png.h"
#include "data/images/png_chunk.h"
#include "data/images/resample.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class ConvertedImages : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { initialize_images("image_test", 1); }

  std::filesystem::path file(const std::string& name) const { return folder_.path() / name; }
  static Image noisy(int64_t width, int64_t height) {
    Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
    uint32_t state = 7;
    for (uint8_t& value : image.pixels)
      value = static_cast<uint8_t>((state = state * 1664525 + 1013904223) >> 24);
    return image;
  }
  static Image plain(int64_t width, int64_t height, uint8_t red, uint8_t green, uint8_t blue) {
    Image image{width, height, {}};
    for (int64_t i = 0; i < width * height; ++i)
      image.pixels.insert(image.pixels.end(), {red, green, blue});
    return image;
  }
  static std::vector<int> pixel(const Image& image, int64_t x, int64_t y) {
    const uint8_t* p = &image.pixels[static_cast<size_t>((y * image.width + x) * 3)];
    return {p[0], p[1], p[2]};
  }
  void expect_bad(const std::string& content, const std::string& reason) const {
    write_file_atomically(file("bad.png"), content);
    try {
      read_png_text(file("bad.png"));
      ADD_FAILURE() << "taken";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("bad.png: "));
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }

  tests::TemporaryFolder folder_;
};

TEST_F(ConvertedImages, AreScaledBitEquallyToPillow) {
  const Image image = noisy(61, 47);
  write_png(file("noisy.png"), image);
  const std::vector<std::pair<int, int>> sizes{{61, 47},  {64, 48}, {24, 16}, {61, 8},
                                               {200, 47}, {1, 1},   {7, 333}};
  std::string sizes_text;
  for (const auto& [width, height] : sizes) sizes_text += fmt::format("({},{}),", width, height);
  run_python_line(
      fmt::format("from PIL import Image\n"
                  "i = Image.open('{0}/noisy.png')\n"
                  "for n, s in enumerate([{1}]):\n"
                  "  r = i.resize(s, Image.LANCZOS)\n"
                  "  open('{0}/%d.rgb' % n, 'wb').write(r.tobytes())\n"
                  "  open('{0}/%d.gray' % n, 'wb').write(r.convert('L').tobytes())",
                  folder_.path().string(), sizes_text));
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Image scaled = resize_lanczos(image, sizes[i].first, sizes[i].second);
    const std::string rgb = read_file(file(fmt::format("{}.rgb", i)));
    EXPECT_TRUE(std::ranges::equal(scaled.pixels, std::vector<uint8_t>(rgb.begin(), rgb.end())))
        << sizes[i].first << "x" << sizes[i].second;
    const std::string gray = read_file(file(fmt::format("{}.gray", i)));
    EXPECT_EQ(brightness(scaled), std::vector<uint8_t>(gray.begin(), gray.end()));
  }
}

TEST_F(ConvertedImages, AreDecodedWholeWithAlphaOnTheGrayThatIsAskedFor) {
  run_python_line(
      fmt::format("from PIL import Image\n"
                  "i = Image.new('RGBA', (5, 3), (255, 0, 0, 0))\n"
                  "i.putpixel((4, 2), (10, 20, 30, 255))\n"
                  "i.save('{}')",
                  file("alpha.png").string()));
  const std::string content = read_image_file(file("alpha.png"));
  for (const int background : {0, 255}) {
    const Image image = decode_image(content, "alpha.png", static_cast<uint8_t>(background));
    EXPECT_EQ(image.width, 5);
    EXPECT_EQ(image.height, 3);
    EXPECT_THAT(pixel(image, 0, 0), ElementsAre(background, background, background));
    EXPECT_THAT(pixel(image, 4, 2), ElementsAre(10, 20, 30));
  }
  EXPECT_THROW(decode_image(content.substr(0, content.size() / 2), "cut"), DataError);
  EXPECT_THROW(decode_image("text", "text"), DataError);
}

TEST_F(ConvertedImages, AreCroppedWithinTheirBounds) {
  const Image image = noisy(6, 5);
  const Image part = crop(image, 2, 1, 3, 4);
  EXPECT_EQ(pixel(part, 0, 0), pixel(image, 2, 1));
  EXPECT_EQ(pixel(part, 2, 3), pixel(image, 4, 4));
  EXPECT_THROW(crop(image, 4, 0, 3, 1), std::invalid_argument);
}

TEST_F(ConvertedImages, WrittenAsPngAreWhatPillowReadsWithTheirText) {
  const Image image = noisy(9, 4);
  const PngText text{{"prompt", "Bocchi und 結束バンド, café\nline"}, {"seed", "7"}, {"empty", ""}};
  write_png(file("written.png"), image, text);
  EXPECT_EQ(read_png_text(file("written.png")), text);
  run_python_line(
      fmt::format("from PIL import Image\n"
                  "i = Image.open('{0}')\n"
                  "assert i.text == {{'prompt': 'Bocchi und 結束バンド, café\\nline', 'seed': '7', "
                  "'empty': ''}}, i.text\n"
                  "open('{0}.rgb', 'wb').write(i.tobytes())",
                  file("written.png").string()));
  const std::string rgb = read_file(file("written.png.rgb"));
  EXPECT_TRUE(std::ranges::equal(image.pixels, std::vector<uint8_t>(rgb.begin(), rgb.end())));
}

TEST_F(ConvertedImages, TextThatPillowWroteIsRead) {
  run_python_line(
      fmt::format("from PIL import Image, PngImagePlugin\n"
                  "t = PngImagePlugin.PngInfo()\n"
                  "t.add_text('latin', 'café')\n"
                  "t.add_itxt('utf', '結束')\n"
                  "t.add_itxt('zipped', 'x' * 99, zip=True)\n"
                  "Image.new('RGB', (2, 2)).save('{}', pnginfo=t)",
                  file("pillow.png").string()));
  EXPECT_THAT(read_png_text(file("pillow.png")),
              ElementsAre(Pair("latin", "café"), Pair("utf", "結束")));
}

TEST_F(ConvertedImages, PngsThatAreDamagedAreRefusedAndNeverCrash) {
  const std::string png = encode_png(noisy(4, 4), {{"prompt", "a cat"}});
  expect_bad("", "not a PNG");
  expect_bad("GIF89a", "not a PNG");
  for (size_t length = 8; length < png.size(); ++length)
    expect_bad(png.substr(0, length), "cut off");
  std::string flipped = png;
  flipped[flipped.find("a cat")] ^= 1;
  expect_bad(flipped, "checksum");
  std::string claims = png;
  claims.replace(8 + 25, 4, "\xff\xff\xff\xff");
  expect_bad(claims, "cut off");
  std::string flood = png.substr(0, 33);
  for (int i = 0; i < 5; ++i)
    flood += png_chunk("tEXtk" + std::string(1, '\0') + std::string(1u << 20, 'x'));
  expect_bad(flood + png.substr(33), "more than 4 MiB");
  const std::string odd = png.substr(0, 33) + png_chunk("iTXtkey") + png_chunk("tEXt") +
                          png_chunk(std::string("iTXtk\0\0", 7)) + png_chunk("IEND");
  write_file_atomically(file("odd.png"), odd);
  EXPECT_THAT(read_png_text(file("odd.png")), IsEmpty());
  EXPECT_THROW(read_png_text(file("none.png")), UsageError);
}

TEST_F(ConvertedImages, AreTiledByMakeGridEachInTheMiddleOfItsCell) {
  const Image red = plain(1, 2, 255, 0, 0), blue = plain(3, 4, 0, 0, 255);
  const Image grid = make_grid({red, blue, red}, 2);
  EXPECT_EQ(grid.width, 2 * (3 + 2) + 2);
  EXPECT_EQ(grid.height, 2 * (4 + 2) + 2);
  EXPECT_THAT(pixel(grid, 3, 3), ElementsAre(255, 0, 0));
  EXPECT_THAT(pixel(grid, 2, 2), ElementsAre(255, 255, 255));
  EXPECT_THAT(pixel(grid, 7, 2), ElementsAre(0, 0, 255));
  EXPECT_THAT(pixel(grid, 3, 9), ElementsAre(255, 0, 0));
  EXPECT_THAT(pixel(grid, 7, 9), ElementsAre(255, 255, 255));
  EXPECT_EQ(make_grid({}, 2).width, 0);
}

TEST_F(ConvertedImages, OfAGridHaveTheirLabelsBelow) {
  const Image red = plain(120, 20, 255, 0, 0);
  const Image grid = make_grid({red, red}, 2, {"two <girls> & a guitar, 結束バンド", ""});
  EXPECT_GT(grid.height, 20 + 4);
  const auto has_ink = [&](int64_t left) {
    for (int64_t y = 22; y < grid.height; ++y) {
      for (int64_t x = left; x < left + 120; ++x) {
        if (pixel(grid, x, y)[0] < 128) return true;
      }
    }
    return false;
  };
  EXPECT_TRUE(has_ink(2));
  EXPECT_FALSE(has_ink(124));
}

}  // namespace
}  // namespace kessoku::data
