#include "base/error.h"

#include <gtest/gtest.h>

namespace kessoku {
namespace {

TEST(NearestWordTest, finds_the_word_that_was_meant) {
  const std::vector<std::string> keys{"train.steps", "train.global_batch", "optimizer.lr"};
  EXPECT_EQ(nearest_word("train.stesp", keys), "train.steps");
  EXPECT_EQ(nearest_word("train.globalbatch", keys), "train.global_batch");
}

TEST(NearestWordTest, says_nothing_when_nothing_is_near) {
  EXPECT_EQ(nearest_word("qqqqqqqqqqqq", {"train.steps"}), "");
  EXPECT_EQ(nearest_word("x", {}), "");
}

TEST(ErrorTest, carries_the_exit_code_of_its_kind) {
  EXPECT_EQ(static_cast<int>(UsageError("x").exit_code()), 64);
  EXPECT_EQ(static_cast<int>(DataError("x").exit_code()), 65);
}

TEST(ErrorTest, is_one_line_whatever_names_it_holds) {
  EXPECT_STREQ(DataError("x.ckpt: no \"a\nb\x1B[2J ü\"").what(),
               "x.ckpt: no \"a\\x0Ab\\x1B[2J ü\"");
}

TEST(ErrorTest, is_never_endless) {
  const std::string name(100'000, 'x');
  const std::string text = DataError("config.json: " + name + " is none of these: a, b").what();
  EXPECT_LT(text.size(), 2100u);
  EXPECT_TRUE(text.starts_with("config.json: xxx"));
  EXPECT_TRUE(text.ends_with("xxx is none of these: a, b"));
}

}  // namespace
}  // namespace kessoku
