#include "data/captions/caption_parts.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace kessoku::data {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(CaptionParts, StandBetweenCommasUnlessSomethingElseIsSaid) {
  const std::vector<CaptionPart> parts{{"a girl"}, {"1girl"}, {"guitar"}};
  EXPECT_EQ(join_parts(parts), "a girl, 1girl, guitar");
  EXPECT_THAT(encode_parts(parts), IsEmpty());
  EXPECT_EQ(caption_parts("a girl, 1girl, guitar", ""), parts);
  EXPECT_THAT(caption_parts("", ""), ElementsAre(CaptionPart{""}));
}

TEST(CaptionParts, KeepWeightsAndCommasWithinAPart) {
  const std::vector<CaptionPart> parts{{"a girl, standing"}, {"hi \"結束\"\n", 2.5}, {"lo"}};
  EXPECT_EQ(caption_parts(join_parts(parts), encode_parts(parts)), parts);
}

TEST(CaptionParts, TheFirstOnesCanBecomeOne) {
  const std::vector<CaptionPart> parts{{"a girl"}, {"1girl", 2}, {"guitar", 0.5}};
  EXPECT_EQ(join_first(parts, 0), parts);
  EXPECT_THAT(join_first(parts, 1),
              ElementsAre(CaptionPart{"a girl, 1girl"}, CaptionPart{"guitar", 0.5}));
  EXPECT_THAT(join_first(parts, 9), ElementsAre(CaptionPart{"a girl, 1girl, guitar"}));
}

TEST(CaptionParts, RefuseDamage) {
  for (const char* encoded : {"[", "[]", "{}", "[1]", "[[\"a\"]]", "[[\"a\", -1]]",
                              "[[\"a\", 1e999]]", "[[1, \"a\"]]", "[null]", "3"}) {
    EXPECT_THROW(caption_parts("a", encoded), DataError) << encoded;
  }
}

}  // namespace
}  // namespace kessoku::data
