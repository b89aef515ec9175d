#include "data/documents/node.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "tests/data/python.h"
#include "tests/temporary_folder.h"

namespace kessoku::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Document : public ::testing::Test {
 protected:
  Value yaml(const std::string& text) const {
    write_text(folder_.path() / "x.yaml", text);
    return read_yaml(folder_.path() / "x.yaml");
  }
  Value json(const std::string& text) const {
    write_text(folder_.path() / "x.json", text);
    return read_json(folder_.path() / "x.json");
  }
  static void expect_refused(const std::function<void()>& read, const std::string& says) {
    try {
      read();
      ADD_FAILURE() << "not refused: " << says;
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr(says));
    }
  }

  tests::TemporaryFolder folder_;
};

/// A value as JSON of texts, for comparison.
std::string show(const Value& value) {
  if (value.kind == Value::Kind::kScalar)
    return value.is_null() ? "null" : fmt::format("'{}'", value.text);
  std::vector<std::string> items;
  for (size_t i = 0; i < value.items.size(); ++i) {
    items.push_back((value.kind == Value::Kind::kMap ? value.keys[i] + ": " : "") +
                    show(value.items[i]));
  }
  const std::string joined = fmt::format("{}", fmt::join(items, ", "));
  return value.kind == Value::Kind::kMap ? "{" + joined + "}" : "[" + joined + "]";
}

TEST_F(Document, ReadsYamlInItsManyForms) {
  EXPECT_EQ(show(yaml("")), "null");
  EXPECT_EQ(show(yaml("# nothing\n---\n...\n")), "null");
  EXPECT_EQ(
      show(yaml("a: 1\nb:\n- x\n- 'y, z'\n- \"\\u7d50\"\n- |\n  two\n  lines\n- ~\nc: {d: [e]}")),
      "{a: '1', b: ['x', 'y, z', '結', 'two\nlines\n', null], c: {d: ['e']}}");
  const Value value = yaml("a: 1\nb:\n- x\n\n- y");
  EXPECT_EQ(value.find("b")->items[1].line, 5u);
  EXPECT_EQ(value.find("c"), nullptr);
  EXPECT_EQ(yaml("a: 1\na: 2").find("a")->text, "2");
}

TEST_F(Document, CopiesAliasesAndMergesMaps) {
  EXPECT_EQ(show(yaml("a: &x [1, &y two]\nb: *x\n*y : 3")),
            "{a: ['1', 'two'], b: ['1', 'two'], two: '3'}");
  const Value merged =
      yaml("base: &b {p: 1, q: 2}\nmore: &m {p: 5, r: 6}\nx:\n  q: 9\n  <<: [*b, *m]");
  const Value& x = *merged.find("x");
  EXPECT_EQ(x.find("p")->text, "1");
  EXPECT_EQ(x.find("q")->text, "9");
  EXPECT_EQ(x.find("r")->text, "6");
}

TEST_F(Document, RefusesYamlThatWouldSwellNestOrRun) {
  std::string bomb = "a0: &a0 [" + std::string(1000, 'x') + "]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i,
                        i - 1);
  }
  expect_refused([&] { yaml(bomb); }, "x.yaml:");
  expect_refused([&] { yaml(bomb); }, "aliases included");
  expect_refused([&] { yaml("a: &a [*a]"); }, "no such anchor");
  expect_refused([&] { yaml(std::string(100, '[')); }, "nested deeper");
  expect_refused([&] { yaml("\n\na: !!python/object/apply:os.system [ls]"); }, "x.yaml:3: the tag");
  expect_refused([&] { yaml("a: !own b"); }, "the tag !own");
  expect_refused([&] { yaml("a: 1\n---\nb: 2"); }, "x.yaml:2: a second document");
  expect_refused([&] { yaml("? [a]\n: b"); }, "cannot be a key");
  expect_refused([&] { yaml("a: 1\nb: \"c"); }, "x.yaml:2: not YAML");
  expect_refused([&] { yaml("a: 1\nb: \x01"); }, "x.yaml:2: not YAML");
  expect_refused([&] { yaml("a: 1\n\tb: 2"); }, "not YAML");
  expect_refused([&] { yaml(std::string((1 << 20) + 1, 'x')); }, "bytes, more than");
  EXPECT_THROW(read_yaml(folder_.path() / "none.yaml"), UsageError);
}

TEST_F(Document, ReadsJsonAndKnowsItsLines) {
  const Value value = json("{\"a\": [1, -2.50, true,\n null, \"x\\ud83d\\ude00\"],\n \"b\": {}}");
  EXPECT_EQ(show(value), "{a: ['1', '-2.50', 'true', null, 'x😀'], b: {}}");
  EXPECT_EQ(value.find("a")->items[4].line, 2u);
  EXPECT_EQ(value.find("b")->line, 3u);
  EXPECT_FALSE(value.find("a")->items[4].plain);
  expect_refused([&] { json("{\"a\":\n1,,}"); }, "x.json:2: not JSON");
  EXPECT_EQ(json("[\"caf\xE9\"]").items[0].text, "café");
  expect_refused([&] { json(""); }, "x.json:1: not JSON");
  expect_refused([&] { json("1 2"); }, "not JSON");
  expect_refused([&] { json(std::string(100'000, '[')); }, "nested deeper");
}

TEST_F(Document, GivesEntriesOneByOne) {
  write_text(folder_.path() / "x.json", "{\"a\": [1],\n\"b\": 2}");
  std::vector<std::string> seen;
  const OnEntry on_entry = [&](const std::string& key, const Value& entry) {
    seen.push_back(key + " " + show(entry));
  };
  read_json_entries(folder_.path() / "x.json", Value::Kind::kMap, on_entry);
  EXPECT_THAT(seen, ElementsAre("a ['1']", "b '2'"));
  expect_refused(
      [&] { read_json_entries(folder_.path() / "x.json", Value::Kind::kList, on_entry); },
      "x.json:1: ");
}

TEST(ParseNumber, TakesNumbersAndNothingElse) {
  EXPECT_EQ(parse_number("1.5"), 1.5);
  EXPECT_EQ(parse_number("+1e-3"), 1e-3);
  EXPECT_EQ(parse_number("-0"), 0);
  for (const char* text :
       {"", "+", "-", "+-1", "1 ", " 1", "1,5", "inf", "nan", "1e999", "0x10", "1_0"})
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
}

}  // namespace
}  // namespace kessoku::data
