#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kessoku::model {

/// What the byte-pair encoder sees of a caption.
struct CaptionWord {
  enum Kind { kText, kStart, kEnd };
  Kind kind;
  std::string text;  ///< UTF-8, normalised; empty for the special tokens
};

/// The front-end of Hugging Face's fast CLIP tokenizer. The special tokens' spellings are cut out
/// first; what lies between is brought into NFC, its white space turned into spaces and its
/// characters, one by one and without regard to their neighbours, into lower case; then it is split
/// by CLIP's pattern 's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+. Invalid UTF-8 becomes
/// U+FFFD.
std::vector<CaptionWord> split_caption(std::string_view text);

}  // namespace kessoku::model
