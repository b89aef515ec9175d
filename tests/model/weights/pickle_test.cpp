#include "model/weights/pickle.h"

#include <gmock/gmock.h>

#include <chrono>

#include "base/error.h"
#include "tests/model/weights/hand_made.h"

namespace kessoku::model {
namespace {

using namespace kessoku::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// `bytes` must outlive what is read.
Pickle read(const std::string& bytes) {
  return read_pickle(std::as_bytes(std::span(bytes)), "x.ckpt");
}

void expect_refused(const std::string& bytes, const std::string& why) {
  EXPECT_THAT([&] { read(bytes); },
              ThrowsMessage<DataError>(AllOf(HasSubstr("x.ckpt"), HasSubstr(why))));
}

std::string repeat(const std::string& what, size_t times) {
  std::string all;
  all.reserve(what.size() * times);
  for (size_t i = 0; i < times; ++i) all += what;
  return all;
}

TEST(Pickle, NotesCallsDownAndMakesNone) {
  const std::string bytes =
      pickled::whole(pickled::call(pickled::global("os", "system"), {pickled::text("touch /x")}));
  const Pickle read_back = read(bytes);
  const PickleNode& root = read_back[read_back.root];
  EXPECT_EQ(root.kind, PickleKind::kObject);
  EXPECT_EQ(read_back.global_name(root.items[0]), "os.system");
  EXPECT_EQ(read_back[read_back[root.items[1]].items[0]].text, "touch /x");
}

TEST(Pickle, NamesGlobalsThatAreMadeOnTheStack) {
  const std::string bytes = "\x80\x04" + pickled::text("os") + pickled::text("system") + "\x93.";
  EXPECT_EQ(read(bytes).global_name(read(bytes).root), "os.system");
  // A module that is no text has no name, and so is nothing that anybody knows.
  const std::string tricky = "\x80\x04N" + pickled::text("system") + "\x93.";
  EXPECT_EQ(read(tricky).global_name(read(tricky).root), ".system");
}

TEST(Pickle, ReadsNumbersOfAllKinds) {
  const std::vector<std::pair<std::string, int64_t>> cases{
      {"K\xff.", 255},
      {"M\x01\x02.", 513},
      {"J\xfe\xff\xff\xff.", -2},
      {std::string("\x8a\x00.", 3), 0},
      {"\x8a\x01\xff.", -1},
      {std::string("\x8a\x02\xff\x00.", 5), 255},
      {"I-12\n.", -12},
      {"L123L\n.", 123},
      {"I01\n.", 1},
      {pickled::integer(std::numeric_limits<int64_t>::min()) + ".",
       std::numeric_limits<int64_t>::min()}};
  for (const auto& [bytes, value] : cases) {
    const Pickle pickle = read(bytes);
    EXPECT_EQ(pickle[pickle.root].integer, value) << bytes;
  }
  const std::string half = std::string("G\x3f\xe0\0\0\0\0\0\0.", 10);
  EXPECT_EQ(read(half)[read(half).root].number, 0.5);
  const std::string large = "\x8a\x09" + std::string(9, '\x11') + ".";
  EXPECT_EQ(read(large)[read(large).root].kind, PickleKind::kText);
}

TEST(Pickle, KeepsCyclesAsTheyAre) {
  const std::string bytes =
      "]q\x01h\x01"
      "a.";  // a list that holds itself
  const Pickle pickle = read(bytes);
  EXPECT_EQ(pickle[pickle.root].items, std::vector<PickleId>{pickle.root});
}

TEST(Pickle, SaysWhereItEnds) { EXPECT_EQ(read("N.rest").size, 2u); }

TEST(Pickle, RefusesWhatNoPicklerWrites) {
  expect_refused("", "ends too early");
  expect_refused("N", "ends too early");
  expect_refused(".", "stack is empty");
  expect_refused("\xff.", "operation 0xff is unknown");
  expect_refused("0.", "stack is empty");
  expect_refused("N\x85\x86.", "stack is empty");
  expect_refused("t.", "mark is missing");
  expect_refused("N(R.", "stack is empty");  // arguments below the mark are out of reach
  expect_refused("}(Nu.", "a key has no value");
  expect_refused(")Na.", "no list");
  expect_refused("NNNs.", "no dictionary");
  expect_refused(")b.", "stack is empty");
  expect_refused("h\x07.", "remembers nothing");
  expect_refused("q\x07.", "stack is empty");
  expect_refused("g-1\n.", "malformed");
  expect_refused("Ixyz\n.", "malformed");
  expect_refused("I99999999999999999999\n.", "malformed");
  expect_refused("cos\nsystem", "a line has no end");
  expect_refused("S'x\n.", "no quotes");
  expect_refused("\x82\x01.", "extensions");
  expect_refused("\x97.", "buffer");
  expect_refused("(i", "a line has no end");
  expect_refused("(o.", "class is missing");
}

TEST(Pickle, BelievesNoLengthBeyondItsEnd) {
  expect_refused(
      "X\xff\xff\xff\xff"
      "abc.",
      "ends too early");
  expect_refused(
      "\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
      "abc.",
      "ends too early");
  expect_refused(
      "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f"
      "abc.",
      "ends too early");
  expect_refused(
      "\x8b\xff\xff\xff\x7f"
      "abc.",
      "ends too early");
  expect_refused(
      "\x8b\xff\xff\xff\xff"
      "abc.",
      "negative");
  expect_refused(
      "T\xfe\xff\xff\xff"
      "abc.",
      "negative");
  expect_refused(
      "\x8a\xff"
      "abc.",
      "ends too early");
}

TEST(Pickle, TakesDepthForWhatItIs) {
  const size_t depth = 500'000;
  const std::string lists = repeat("]", depth) + repeat("a", depth - 1) + ".";
  EXPECT_EQ(read(lists)[read(lists).root].items.size(), 1u);
  const std::string tuples = "N" + repeat("\x85", depth) + ".";
  EXPECT_EQ(read(tuples)[read(tuples).root].kind, PickleKind::kTuple);
  const std::string marks = repeat("(", depth) + repeat("t", depth) + ".";
  EXPECT_EQ(read(marks)[read(marks).root].kind, PickleKind::kTuple);
}

TEST(Pickle, DoesNotUnfoldABillionLaughs) {
  std::string bytes = "]q" + little_endian<uint8_t>(0);
  for (uint8_t level = 1; level < 100; ++level) {
    const std::string below = "h" + little_endian<uint8_t>(level - 1);
    bytes += "](" + repeat(below, 10) + "eq" + little_endian(level);
  }
  bytes += ".";
  EXPECT_LT(read(bytes).nodes.size(), 200u);
}

TEST(Pickle, EndsSoonWhateverItsLength) {
  const auto began = std::chrono::steady_clock::now();
  expect_refused(repeat("N", 9'000'000), "operations");
  expect_refused(repeat("]", 2'000'000), "parts");
  expect_refused("N" + repeat("\x94", 2'000'000), "remembers more");
  // One list that grows by all of the stack again and again would be quadratic.
  expect_refused("](" + repeat("N", 1'000'000) + "e" + repeat("(e", 1'000'000), "ends too early");
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

}  // namespace
}  // namespace kessoku::model
