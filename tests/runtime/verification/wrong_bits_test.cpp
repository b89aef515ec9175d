#include "runtime/verification/wrong_bits.h"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/temporary_folder.h"

namespace kessoku::runtime {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(WrongBits, SayWhatDiffersAndWhere) {
  const WrongBits one(200, {"weights in w", {3}}, {"node2"});
  EXPECT_STREQ(
      one.what(),
      "wrong bits at step 200: weights in w of rank 3 on node2 are not what they should be");
  const WrongBits two(200, {"weights in w", {0, 1}}, {"a", "b"});
  EXPECT_STREQ(two.what(), "wrong bits at step 200: weights in w of ranks 0 on a, 1 on b differ");
  EXPECT_EQ(one.exit_code(), ExitCode::kWrongBits);
}

TEST(WrongBits, AreRecordedWithTheHostThatIsKnownToBeAtFault) {
  const tests::TemporaryFolder folder;
  EXPECT_THAT(recorded_differences(folder.path()), IsEmpty());
  record_difference(folder.path(), {1, {"x", {3}}, {"node2"}});
  record_difference(folder.path(), {2, {"x", {0, 1}}, {"a", "b"}});
  record_difference(folder.path(), {3, {"x", {0, 1}}, {"a", "a"}});
  std::ofstream(folder.path() / "differences.jsonl", std::ios::app) << "{\"step\": 4, \"ho";
  EXPECT_THAT(recorded_differences(folder.path()), ElementsAre("node2", "", "a", ""));
}

}  // namespace
}  // namespace kessoku::runtime
