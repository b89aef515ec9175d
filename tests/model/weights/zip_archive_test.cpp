#include "base/zip_archive.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "tests/model/weights/hand_made.h"
#include "tests/temporary_folder.h"

namespace kessoku {
namespace {

using namespace kessoku::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

class ZipArchive : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return folder_.path() / "x.zip"; }
  void expect_refused(const std::string& bytes, const std::string& why) const {
    write_bytes(file(), bytes);
    const MappedFile mapped(file());
    EXPECT_THAT([&] { read_zip_directory(mapped); },
                ThrowsMessage<DataError>(AllOf(HasSubstr("x.zip"), HasSubstr(why))));
  }

  tests::TemporaryFolder folder_;
};

TEST_F(ZipArchive, SaysWhereMembersLie) {
  const std::string bytes = make_zip({{"a/x", "hello"}, {"a/y", ""}, {"a/z", "world"}});
  write_bytes(file(), bytes);
  const MappedFile mapped(file());
  const auto members = read_zip_directory(mapped);
  ASSERT_EQ(members.size(), 3u);
  const ZipMember& z = members.at("a/z");
  EXPECT_EQ(bytes.substr(z.begin, z.end - z.begin), "world");
  EXPECT_EQ(members.at("a/y").begin, members.at("a/y").end);
}

TEST_F(ZipArchive, ReadsZip64Fields) {
  std::string bytes = make_zip({{"x", "hello"}});
  // The same directory, with sizes and place in a ZIP64 field.
  const size_t at = bytes.find("PK\1\2"), end = bytes.find("PK\5\6");
  std::string record = bytes.substr(at, end - at);
  record.replace(20, 8, std::string(8, '\xff'));
  record.replace(42, 4, std::string(4, '\xff'));
  record.replace(30, 2, little_endian<uint16_t>(28));
  record += little_endian<uint16_t>(1) + little_endian<uint16_t>(24) + little_endian<uint64_t>(5) +
            little_endian<uint64_t>(5) + little_endian<uint64_t>(0);
  const std::string end64 = "PK\6\6" + little_endian<uint64_t>(44) + std::string(12, '\0') +
                            little_endian<uint64_t>(1) + little_endian<uint64_t>(1) +
                            little_endian<uint64_t>(record.size()) + little_endian<uint64_t>(at);
  const std::string locator = "PK\6\7" + std::string(4, '\0') +
                              little_endian<uint64_t>(at + record.size()) +
                              little_endian<uint32_t>(1);
  const std::string tail =
      "PK\5\6" + std::string(4, '\0') + std::string(12, '\xff') + std::string(2, '\0');
  const std::string whole = bytes.substr(0, at) + record + end64 + locator + tail;
  write_bytes(file(), whole);
  const MappedFile mapped(file());
  const ZipMember member = read_zip_directory(mapped).at("x");
  EXPECT_EQ(whole.substr(member.begin, member.end - member.begin), "hello");

  std::string hostile = whole;  // a member of 2^64 − 1 bytes
  hostile.replace(at + record.size() - 24, 16, std::string(16, '\xff'));
  expect_refused(hostile, "truncated");
  hostile = whole;  // a directory that ends before it begins
  hostile.replace(at + record.size() + 40, 16, std::string(16, '\xff'));
  expect_refused(hostile, "truncated or damaged");
  hostile = whole;
  hostile.replace(at + record.size() - 28 + 2, 2, little_endian<uint16_t>(8));
  expect_refused(hostile, "damaged");
}

TEST_F(ZipArchive, RefusesEveryTruncation) {
  const std::string bytes = make_zip({{"a/x", "hello"}, {"a/z", "world"}});
  for (size_t length = 0; length < bytes.size(); ++length) {
    expect_refused(bytes.substr(0, length), "");
  }
}

TEST_F(ZipArchive, RefusesWhatPyTorchDoesNotWrite) {
  expect_refused(make_zip({{"x", "hello", 8}}), "\"x\" compressed");
  expect_refused(make_zip({{"x", "hello", 0, 1}}), "\"x\" encrypted");
  expect_refused(make_zip({{"x", "hello"}, {"x", "world"}}), "\"x\" twice");
  expect_refused(make_zip({{.name = "x", .content = "hello", .size = 5000}}), "truncated: \"x\"");
  expect_refused(make_zip({{.name = "x", .content = "hello", .local_name = "y"}}),
                 "another member where its directory says \"x\"");
  expect_refused(make_zip({{"x", "hello"}, {.name = "y", .content = "world", .header = 1}}),
                 "no \"y\" where its directory says");
  const uint32_t header_of_x = 30 + 1;  // "y" again, inside what is "x"
  const std::string inner = make_zip({{"y", "world"}});
  expect_refused(make_zip({{"x", inner}, {.name = "y", .content = "world", .header = header_of_x}}),
                 "in the same place");
}

}  // namespace
}  // namespace kessoku
