#include "base/checksum.h"

#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <vector>

namespace kessoku {
namespace {

TEST(Checksum, IsXxh3) {
  // From xxHash's specification: the empty input, seed 0.
  EXPECT_EQ(checksum({}), 0x2D06800538D394C2ull);
}

TEST(Checksum, OfPiecesIsThatOfTheWhole) {
  const std::string whole(10'000, 'k');
  Checksummer pieces;
  pieces.add(whole.substr(0, 1));
  pieces.add(whole.substr(1, 4'000));
  pieces.add(whole.substr(4'001));
  EXPECT_EQ(pieces.value(), checksum(std::as_bytes(std::span(whole))));
}

TEST(Checksum, IsWrittenAs16Digits) { EXPECT_EQ(to_hex(0xABC), "0000000000000abc"); }

#if defined(__x86_64__)
/// Whether the upper halves of this thread's vector registers are in use: all older floating-point
/// instructions are slow then. Ask `can_tell` first.
bool upper_halves_in_use() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low & 4) != 0;
}

bool can_tell() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return false;
  return __get_cpuid_count(13, 1, &a, &b, &c, &d) != 0 && (a & 4) != 0;
}

TEST(Checksum, LeavesTheProcessorAtFullSpeed) {
  if (!can_tell() || !__builtin_cpu_supports("avx2"))
    GTEST_SKIP() << "this processor does not tell which registers are in use";
  const std::vector<std::byte> bytes(10'000);
  checksum(bytes);
  EXPECT_FALSE(upper_halves_in_use());
  Checksummer pieces;
  pieces.add(bytes);
  EXPECT_FALSE(upper_halves_in_use());
  pieces.value();
  EXPECT_FALSE(upper_halves_in_use());
}
#endif

}  // namespace
}  // namespace kessoku
