#include "model/pipeline/prompt.h"

#include <gmock/gmock.h>

#include <cmath>

namespace kessoku::model {

void PrintTo(const PromptRun& run, std::ostream* out) {
  *out << (run.new_chunk ? "BREAK " : "") << '"' << run.text << "\":" << run.weight;
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

testing::Matcher<PromptRun> run(const std::string& text, double weight = 1,
                                bool new_chunk = false) {
  return testing::AllOf(
      testing::Field("text", &PromptRun::text, text),
      testing::Field("weight", &PromptRun::weight, testing::DoubleNear(weight, 1e-12)),
      testing::Field("new_chunk", &PromptRun::new_chunk, new_chunk));
}

TEST(Prompt, PlainTextIsOneRun) {
  EXPECT_THAT(parse_prompt("a cat, sitting"), ElementsAre(run("a cat, sitting")));
  EXPECT_THAT(parse_prompt("Café: 🎸 \\ guitar"), ElementsAre(run("Café: 🎸 \\ guitar")));
  EXPECT_THAT(parse_prompt(""), IsEmpty());
}

TEST(Prompt, BracketsWeighByATenthAndMultiply) {
  EXPECT_THAT(parse_prompt("an (important) word"),
              ElementsAre(run("an "), run("important", 1.1), run(" word")));
  EXPECT_THAT(parse_prompt("(an (important) word)"),
              ElementsAre(run("an ", 1.1), run("important", 1.1 * 1.1), run(" word", 1.1)));
  EXPECT_THAT(parse_prompt("((([x])))"), ElementsAre(run("x", 1.1 * 1.1 * 1.1 / 1.1)));
  EXPECT_THAT(parse_prompt("[dim] light"), ElementsAre(run("dim", 1 / 1.1), run(" light")));
}

TEST(Prompt, NumbersWeigh) {
  EXPECT_THAT(parse_prompt("(word:1.3)"), ElementsAre(run("word", 1.3)));
  EXPECT_THAT(parse_prompt("((word:1.3) x:0.5)"), ElementsAre(run("word", 0.65), run(" x", 0.5)));
  EXPECT_THAT(parse_prompt("(a: b : +2 )"), ElementsAre(run("a: b ", 2)));
  EXPECT_THAT(parse_prompt("(away:-1)(none:0)"), ElementsAre(run("away", -1), run("none", 0)));
  EXPECT_THAT(parse_prompt("(a:.5)"), ElementsAre(run("a", 0.5)));
}

TEST(Prompt, EscapedCharactersAreText) {
  EXPECT_THAT(parse_prompt("\\(kita\\) \\[x\\] \\\\ (a\\):1.2)"),
              ElementsAre(run("(kita) [x] \\ "), run("a)", 1.2)));
}

TEST(Prompt, BreakBeginsAChunk) {
  EXPECT_THAT(parse_prompt("a BREAK b"), ElementsAre(run("a "), run(" b", 1, true)));
  EXPECT_THAT(parse_prompt("(a BREAK b:2)"), ElementsAre(run("a ", 2), run(" b", 2, true)));
  EXPECT_THAT(parse_prompt("BREAKFAST aBREAK"), ElementsAre(run("BREAKFAST aBREAK")));
}

TEST(Prompt, WhatIsMalformedIsText) {
  EXPECT_THAT(parse_prompt("a ) b ] c"), ElementsAre(run("a ) b ] c")));
  EXPECT_THAT(parse_prompt(":) smile :1.2)"), ElementsAre(run(":) smile :1.2)")));
  EXPECT_THAT(parse_prompt("open (word"), ElementsAre(run("open (word")));
  EXPECT_THAT(parse_prompt("((house:1.3)"), ElementsAre(run("("), run("house", 1.3)));
  EXPECT_THAT(parse_prompt("(a [b) c]"), ElementsAre(run("a [b", 1.1), run(" c]")));
  EXPECT_THAT(parse_prompt("(a:1.2.3)"), ElementsAre(run("a:1.2.3", 1.1)));
  EXPECT_THAT(parse_prompt("(a:nan)(b:inf)(c:1e9)(d:)(e:1000)"),
              ElementsAre(run("a:nanb:infc:1e9d:e:1000", 1.1)));
  EXPECT_THAT(parse_prompt("\\"), ElementsAre(run("\\")));
}

TEST(Prompt, AnyTextIsTakenQuicklyAndStaysFinite) {
  const std::string alphabet = "()[]:\\1.-aB \xc3";
  uint32_t state = 1;
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 300; ++i) {
      state = state * 1664525 + 1013904223;
      text += alphabet[(state >> 24) % alphabet.size()];
    }
    for (const PromptRun& run : parse_prompt(text)) EXPECT_TRUE(std::isfinite(run.weight));
  }
  const size_t many = 200'000;
  EXPECT_EQ(parse_prompt(std::string(many, '(') + std::string(many, ')')).size(), 2u);
}

}  // namespace
}  // namespace kessoku::model
