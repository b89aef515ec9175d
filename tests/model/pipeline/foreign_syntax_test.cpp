#include "model/pipeline/foreign_syntax.h"

#include <gmock/gmock.h>

namespace kessoku::model {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string text_of(const char* prompt) { return without_foreign_syntax(prompt).text; }

TEST(ForeignSyntax, IsNotSeenWhereThereIsNone) {
  for (const char* prompt :
       {"", "a cat, (red:1.2) hat", "[blue] sky BREAK night", "a [very [old]] house", "x < y > z",
        "\\[a:b:0.5\\]", "[a: the story]", "bRAND ANDROID", " spaces stay ", "at 12:30", "a|b",
        "[unclosed:0.5"}) {
    const NativePrompt native = without_foreign_syntax(prompt);
    EXPECT_EQ(native.text, prompt);
    EXPECT_THAT(native.notes, IsEmpty()) << prompt;
  }
}

TEST(ForeignSyntax, OfNetworksIsLeftOut) {
  EXPECT_EQ(text_of("a cat, <lora:hat:0.8>, night"), "a cat, night");
  EXPECT_EQ(text_of("<lora:hat:0.8> a cat"), "a cat");
  EXPECT_EQ(text_of("a cat, <lyco:x:1><hypernet:y:0.5>"), "a cat");
  EXPECT_EQ(text_of("a <lora:x:1> cat"), "a  cat");
  EXPECT_THAT(without_foreign_syntax("a <lora:hat:0.8>").notes,
              ElementsAre("<lora:hat:0.8> is left out: such networks are not read"));
}

TEST(ForeignSyntax, OfEditsIsWhatHoldsInTheEnd) {
  EXPECT_EQ(text_of("a [cat:dog:0.5] runs"), "a dog runs");
  EXPECT_EQ(text_of("a [cat:16] runs"), "a cat runs");
  EXPECT_EQ(text_of("a cat, [hat::0.5], night"), "a cat, night");
  EXPECT_EQ(text_of("a [cat|dog] runs"), "a cat runs");
  EXPECT_EQ(text_of("[[a:b:0.2]:c:0.5]"), "c");
  EXPECT_EQ(text_of("[(red:1.2):(blue:1.3):0.5] sky"), "(blue:1.3) sky");
  EXPECT_THAT(without_foreign_syntax("[cat:dog:0.5]").notes,
              ElementsAre(HasSubstr("[cat:dog:0.5] is drawn as \"dog\"")));
}

TEST(ForeignSyntax, OfComposedPromptsBecomesOne) {
  EXPECT_EQ(text_of("a cat AND a dog"), "a cat, a dog");
  EXPECT_EQ(text_of("a cat :1.2 AND a dog:0.8 AND night"), "a cat, a dog, night");
  EXPECT_THAT(without_foreign_syntax("a AND b AND c").notes, SizeIs(1));
}

}  // namespace
}  // namespace kessoku::model
