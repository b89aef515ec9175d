#include "base/checksum.h"

#include <gtest/gtest.h>

namespace kessoku {
namespace {

TEST(ChecksumTest, is_xxh3) {
  // From xxHash's specification: the empty input, seed 0.
  EXPECT_EQ(checksum({}), 0x2D06800538D394C2ull);
}

TEST(ChecksumTest, of_pieces_is_that_of_the_whole) {
  const std::string whole(10'000, 'k');
  Checksummer pieces;
  pieces.add(whole.substr(0, 1));
  pieces.add(whole.substr(1, 4'000));
  pieces.add(whole.substr(4'001));
  EXPECT_EQ(pieces.value(), checksum(std::as_bytes(std::span(whole))));
}

TEST(ChecksumTest, is_written_as_16_digits) { EXPECT_EQ(to_hex(0xABC), "0000000000000abc"); }

}  // namespace
}  // namespace kessoku
