#include "base/error.h"

#include <gtest/gtest.h>

namespace kessoku {
namespace {

TEST(NearestWord, FindsTheWordThatWasMeant) {
  const std::vector<std::string> keys{"train.steps", "train.global_batch", "optimizer.lr"};
  EXPECT_EQ(nearest_word("train.stesp", keys), "train.steps");
  EXPECT_EQ(nearest_word("train.globalbatch", keys), "train.global_batch");
}

TEST(NearestWord, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(nearest_word("qqqqqqqqqqqq", {"train.steps"}), "");
  EXPECT_EQ(nearest_word("x", {}), "");
}

TEST(Error, CarriesTheExitCodeOfItsKind) {
  EXPECT_EQ(static_cast<int>(UsageError("x").exit_code()), 64);
  EXPECT_EQ(static_cast<int>(DataError("x").exit_code()), 65);
}

TEST(Error, IsOneLineWhateverNamesItHolds) {
  EXPECT_STREQ(DataError("x.ckpt: no \"a\nb\x1B[2J ü\"").what(),
               "x.ckpt: no \"a\\x0Ab\\x1B[2J ü\"");
}

TEST(Error, IsNeverEndless) {
  const std::string name(100'000, 'x');
  const std::string text = DataError("config.json: " + name + " is none of these: a, b").what();
  EXPECT_LT(text.size(), 2100u);
  EXPECT_TRUE(text.starts_with("config.json: xxx"));
  EXPECT_TRUE(text.ends_with("xxx is none of these: a, b"));
}

}  // namespace
}  // namespace kessoku
