#include "metrics/tensorboard/event_file.h"

#include <gtest/gtest.h>

namespace kessoku::metrics {
namespace {

// RFC 3720, B.4.
TEST(Crc32c, GivesTheStandardsVectors) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
}

}  // namespace
}  // namespace kessoku::metrics
