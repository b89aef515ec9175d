#include "model/text/caption_words.h"

#include <unicode/utf8.h>

#include <algorithm>

#include "model/text/bpe.h"
#include "model/text/caption_cleaning.h"

namespace kessoku::model {

namespace {

constexpr std::string_view kLongS = "ſ";  // ignoring case it is an s

/// The bytes of `text` at the beginning of `rest`, where a long s may stand for an s; 0 if it does
/// not stand there.
size_t match_with_long_s(std::string_view rest, std::string_view text) {
  size_t at = 0;
  for (const char c : text) {
    if (at < rest.size() && rest[at] == c) {
      ++at;
    } else if (c == 's' && rest.substr(at).starts_with(kLongS)) {
      at += kLongS.size();
    } else {
      return 0;
    }
  }
  return at;
}

}  // namespace

CaptionSplitter::CaptionSplitter(FrontEnd front_end, const std::vector<SpecialToken>& specials)
    : front_end_(front_end), characters_(front_end) {
  for (SpecialToken special : specials) {
    if (special.text.empty()) continue;
    const bool later = special.normalized && front_end == FrontEnd::kHfFast;
    if (later) special.text = characters_.normalize(special.text);
    TokenFinder& where = later ? normalized_ : given_;
    where.first_bytes += special.text[0];
    where.tokens.push_back(std::move(special));
  }
}

SplitCaption CaptionSplitter::split(std::string_view caption) const {
  SplitCaption out;
  out.words.reserve(caption.size() / 4 + 8);
  if (front_end_ == FrontEnd::kOpenAi) {
    out.text = clean_caption(caption);
    split_words(0, out.text.size(), out);
  } else {
    split_given(caption, out);
  }
  return out;
}

CaptionSplitter::Match CaptionSplitter::TokenFinder::find(std::string_view text) const {
  for (size_t at = 0; (at = text.find_first_of(first_bytes, at)) != text.npos; ++at) {
    Match best{at, 0, kNoSpecial};
    for (const SpecialToken& token : tokens) {
      if (token.text.size() > best.size && text.substr(at).starts_with(token.text))
        best = {at, token.text.size(), token.id};
    }
    if (best.size > 0) return best;
  }
  return {text.size(), 0, kNoSpecial};
}

void CaptionSplitter::split_given(std::string_view caption, SplitCaption& out) const {
  while (!caption.empty()) {
    const Match match = given_.find(caption);
    const size_t begin = out.text.size();
    out.text += characters_.normalize(caption.substr(0, match.begin));
    split_normalized(begin, out);
    if (match.size > 0) out.words.push_back({match.id, out.text.size(), 0});
    caption.remove_prefix(match.begin + match.size);
  }
}

void CaptionSplitter::split_normalized(size_t begin, SplitCaption& out) const {
  while (begin < out.text.size()) {
    const Match match = normalized_.find(std::string_view(out.text).substr(begin));
    split_words(begin, begin + match.begin, out);
    begin += match.begin + match.size;
    if (match.size > 0) out.words.push_back({match.id, begin, 0});
  }
}

/// Bytes of a special token's spelling that stands at the beginning of `rest`; 0 if none does.
size_t CaptionSplitter::special_spelling(std::string_view rest) const {
  if (!rest.starts_with("<|")) return 0;
  for (const std::string_view spelling : {Bpe::kStart, Bpe::kEnd}) {
    if (front_end_ == FrontEnd::kHfFast && rest.starts_with(spelling)) return spelling.size();
    if (front_end_ == FrontEnd::kOpenAi) {
      if (const size_t size = match_with_long_s(rest, spelling)) return size;
    }
  }
  return 0;
}

/// The pattern cuts such a spelling out as a whole. With Hugging Face it is no special token (those
/// were cut out before), and the byte-level stage then splits it again; with OpenAI it is one,
/// unless there is a long s in it: then it is one word.
void CaptionSplitter::push_spelling(size_t begin, size_t size, SplitCaption& out) const {
  if (front_end_ == FrontEnd::kHfFast) {
    out.words.push_back({kNoSpecial, begin, 2});
    out.words.push_back({kNoSpecial, begin + 2, size - 4});
    out.words.push_back({kNoSpecial, begin + size - 2, 2});
    return;
  }
  const std::string_view spelling = std::string_view(out.text).substr(begin, size);
  out.words.push_back({kNoSpecial, begin, size});
  for (const SpecialToken& token : given_.tokens) {
    if (token.text == spelling) out.words.back().special = token.id;
  }
}

size_t CaptionSplitter::contraction(std::string_view rest) const {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
    if (rest.starts_with(ending)) return ending.size();
  }
  return front_end_ == FrontEnd::kOpenAi ? match_with_long_s(rest, "'s") : 0;
}

void CaptionSplitter::split_words(size_t begin, size_t end, SplitCaption& out) const {
  const auto* bytes = reinterpret_cast<const uint8_t*>(out.text.data());
  const auto length = static_cast<int32_t>(end);
  for (auto at = static_cast<int32_t>(begin); at < length;) {
    const std::string_view rest =
        std::string_view(out.text).substr(at, end - static_cast<size_t>(at));
    size_t size = 0;
    if (bytes[at] == '<' && (size = special_spelling(rest)) > 0) {
      push_spelling(static_cast<size_t>(at), size, out);
    } else if (bytes[at] == '\'' && (size = contraction(rest)) > 0) {
      out.words.push_back({kNoSpecial, static_cast<size_t>(at), size});
    }
    if (size > 0) {
      at += static_cast<int32_t>(size);
      continue;
    }
    const int32_t first = at;
    UChar32 c;
    U8_NEXT_UNSAFE(bytes, at, c);
    const CharacterClass wanted = characters_.class_of(static_cast<uint32_t>(c));
    while (wanted != CharacterClass::kNumber && at < length) {
      int32_t next = at;
      U8_NEXT_UNSAFE(bytes, next, c);
      if (characters_.class_of(static_cast<uint32_t>(c)) != wanted) break;
      at = next;
    }
    if (wanted == CharacterClass::kSpace) continue;
    out.words.push_back({kNoSpecial, static_cast<size_t>(first), static_cast<size_t>(at - first)});
  }
}

}  // namespace kessoku::model
