#include "base/log.h"

#include <gtest/gtest.h>

namespace kessoku {
namespace {

TEST(Log, SaysWhatALineIs) {
  testing::internal::CaptureStderr();
  log_warning("{} images are not used", 3);
  log_info("{}/ is written", "store");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "warning: 3 images are not used\ninfo: store/ is written\n");
}

TEST(Log, WritesTextAsItIs) {
  testing::internal::CaptureStderr();
  write_warning("a folder {x} at 100 %");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: a folder {x} at 100 %\n");
}

}  // namespace
}  // namespace kessoku
