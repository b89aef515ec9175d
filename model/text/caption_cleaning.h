#pragma once

#include <string>
#include <string_view>

namespace kessoku::model {

/// What OpenAI's simple_tokenizer does to a caption before it splits it: ftfy's fix_text, HTML
/// unescaped twice, runs of white space as one space, none at the ends, lower case (of the whole
/// string, so that a Greek sigma knows whether it ends a word). Of ftfy (6.3) everything but the
/// guess that a text was decoded by a wrong encoding: entities, ligatures, full- and half-width
/// forms, curled quotes, line breaks, terminal escapes, control characters, C1 controls as
/// Windows-1252, NFC. Invalid UTF-8 becomes U+FFFD. Safe for concurrent use.
std::string clean_caption(std::string_view caption);

}  // namespace kessoku::model
