#pragma once

#include "model/text/caption_characters.h"

namespace kessoku::model {

/// A spelling that stands for one id wherever it occurs in a caption.
struct SpecialToken {
  std::string text;
  int64_t id;
  bool normalized = false;  ///< looked for in the normalized caption, not in the given one
};

constexpr int64_t kNoSpecial = -1;

/// What the byte-pair encoder sees of a caption.
struct SplitCaption {
  struct Word {
    int64_t special;     ///< id of a special token, or kNoSpecial
    size_t begin, size;  ///< of the word in `text`
  };

  std::string text;  ///< UTF-8, normalized
  std::vector<Word> words;

  std::string_view word(const Word& w) const {
    return std::string_view(text).substr(w.begin, w.size);
  }
};

/// Takes captions apart as CLIP's tokenizers do: normalizes, cuts out special tokens, and splits
/// by the pattern 's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+. Immutable: safe for
/// concurrent use.
class CaptionSplitter {
 public:
  /// `specials` are Hugging Face's added tokens; OpenAI's front-end takes those of start and end
  /// alone.
  CaptionSplitter(FrontEnd front_end, const std::vector<SpecialToken>& specials);

  SplitCaption split(std::string_view caption) const;

 private:
  struct Match {
    size_t begin, size;
    int64_t id;
  };
  struct TokenFinder {
    std::vector<SpecialToken> tokens;
    std::string first_bytes;
    /// The leftmost, the longest among those that begin there; size 0 if there is none.
    Match find(std::string_view text) const;
  };

  void split_given(std::string_view caption, SplitCaption& out) const;
  void split_normalized(size_t begin, SplitCaption& out) const;
  void split_words(size_t begin, size_t end, SplitCaption& out) const;
  void push_spelling(size_t begin, size_t size, SplitCaption& out) const;
  size_t special_spelling(std::string_view rest) const;
  size_t contraction(std::string_view rest) const;

  FrontEnd front_end_;
  CaptionCharacters characters_;
  TokenFinder given_;       // looked for in the caption as it is given
  TokenFinder normalized_;  // looked for after normalization
};

}  // namespace kessoku::model
