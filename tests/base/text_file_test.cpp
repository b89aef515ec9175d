#include "base/text_file.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary_folder.h"

namespace kessoku {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Latin letters as UTF-16.
std::string utf16(const std::string& ascii, bool little_endian) {
  std::string bytes;
  for (const char c : ascii) bytes += little_endian ? std::string{c, '\0'} : std::string{'\0', c};
  return bytes;
}

TEST(DecodeText, ReadsUtf8WithAndWithoutMark) {
  for (const char* text : {"", "a", "café, 結束バンド, 🎸"}) {
    EXPECT_EQ(decode_text(text).text, text);
    EXPECT_EQ(decode_text("\xEF\xBB\xBF"s + text).text, text);
    EXPECT_THAT(decode_text(text).warning, IsEmpty());
  }
}

TEST(DecodeText, LeavesOutMarksWhereFilesWereJoined) {
  EXPECT_EQ(decode_text("\xEF\xBB\xBFone\n\xEF\xBB\xBFtwo\n").text, "one\ntwo\n");
  EXPECT_EQ(decode_text("a\xEF\xBB\xBF"
                        "b")
                .text,
            "a\xEF\xBB\xBF"
            "b");  // a letter of the text
}

TEST(DecodeText, ReadsUtf16WithMark) {
  EXPECT_EQ(decode_text("\xFF\xFE\x50\x7D\x5F\x67\x3C\xD8\xB8\xDF").text, "結束🎸");
  EXPECT_EQ(decode_text("\xFE\xFF\x7D\x50\x67\x5F\xD8\x3C\xDF\xB8").text, "結束🎸");
  EXPECT_THAT(decode_text("\xFF\xFE" + utf16("ok", true)).warning, IsEmpty());
}

TEST(DecodeText, ReadsUtf16WithoutMarkWhereThatIsCertain) {
  for (const bool little_endian : {true, false}) {
    for (const char* text : {"a girl, blue hair", "2", "a,\nb"}) {
      const Text read = decode_text(utf16(text, little_endian));
      EXPECT_EQ(read.text, text);
      EXPECT_THAT(read.warning, IsEmpty());
    }
  }
  // Few zeros, but as UTF-8 it is none.
  EXPECT_EQ(decode_text("\xD0\x30\xF3\x30\xC9\x30,\0"s).text, "バンド,");
}

TEST(DecodeText, LeavesOutNulAndSaysSo) {
  const Text read = decode_text("a girl\0 hidden"s);
  EXPECT_EQ(read.text, "a girl hidden");
  EXPECT_THAT(read.warning, HasSubstr("NUL"));
  EXPECT_EQ(decode_text(std::string(512, '\0')).text, "");  // what a crash leaves of a file
}

TEST(DecodeText, TakesWindows1252WithAWarning) {
  const Text read = decode_text(
      "it\x92s \x93"
      "caf\xE9\x94 \x80");
  EXPECT_EQ(read.text, "it’s “café” €");
  EXPECT_THAT(read.warning, HasSubstr("Windows-1252"));
}

TEST(DecodeText, LeavesOutAFewInvalidBytesOfUtf8) {
  const Text read = decode_text("結束バンド\xE3\x82");  // cut within a letter
  EXPECT_EQ(read.text, "結束バンド");
  EXPECT_THAT(read.warning, HasSubstr("left out"));
}

TEST(DecodeText, SaysThatUtf16IsBroken) {
  const Text read = decode_text(
      "\xFF\xFE"
      "a\0\0\xD8"
      "b\0c"s);
  EXPECT_EQ(read.text,
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_THAT(read.warning, HasSubstr("broken"));
}

TEST(DecodeText, EndsLinesAlike) { EXPECT_EQ(decode_text("a\r\nb\rc\n\r\n").text, "a\nb\nc\n\n"); }

TEST(DecodeText, AlwaysGivesUtf8) {
  uint32_t state = 3;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes;
    for (uint32_t n = (state = state * 1664525 + 1013904223) >> 28; n > 0; --n)
      bytes += static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    const Text read = decode_text(bytes);
    ASSERT_TRUE(is_utf8(read.text));
    ASSERT_EQ(read.text.find('\0'), std::string::npos);
    ASSERT_TRUE(is_utf8(to_utf8(bytes)));
  }
}

TEST(ReadUtf8File, RefusesWhatWouldHaveToBeGuessed) {
  const tests::TemporaryFolder folder;
  const auto file = folder.path() / "hosts";
  write_file_atomically(file, "\xEF\xBB\xBFnode1\r\n");
  EXPECT_EQ(read_utf8_file(file), "node1\n");
  write_file_atomically(file, "caf\xE9");
  try {
    read_utf8_file(file);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr(file.string() + ": not UTF-8"));
  }
}

}  // namespace
}  // namespace kessoku
