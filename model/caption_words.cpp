#include "model/caption_words.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <array>

#include "model/bpe.h"

namespace kessoku::model {

namespace {

enum class Class { kSpace, kLetter, kNumber, kOther };

Class class_of(UChar32 c) {
  const uint32_t category = U_GET_GC_MASK(c);
  if ((category & U_GC_L_MASK) != 0) return Class::kLetter;
  if ((category & U_GC_N_MASK) != 0) return Class::kNumber;
  return u_isUWhiteSpace(c) != 0 ? Class::kSpace : Class::kOther;
}

/// NFC and lower case. White space needs no change: a run of it only ever ends a word.
icu::UnicodeString normalise(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  const auto source =
      icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())});
  const icu::UnicodeString composed = nfc->normalize(source, status);
  icu::UnicodeString lower;
  for (int32_t i = 0; i < composed.length(); i = composed.moveIndex32(i, 1)) {
    const UChar32 c = composed.char32At(i);
    lower.append(u_tolower(c));
    // The one letter whose lower case, out of any context, is two characters.
    if (c == 0x130) lower.append(static_cast<UChar32>(0x307));
  }
  return lower;
}

/// Splits normalised text by CLIP's pattern.
class Splitter {
 public:
  Splitter(const icu::UnicodeString& text, std::vector<CaptionWord>& words)
      : text_(text), words_(words) {}

  void run() {
    while (at_ < text_.length()) {
      if (!take_special_spelling() && !take_contraction()) take_class();
    }
  }

 private:
  bool starts_with(std::string_view ascii) const {
    if (text_.length() - at_ < static_cast<int32_t>(ascii.size())) return false;
    for (size_t i = 0; i < ascii.size(); ++i) {
      if (text_.charAt(at_ + static_cast<int32_t>(i)) != ascii[i]) return false;
    }
    return true;
  }

  void take(int32_t length) {
    CaptionWord word{CaptionWord::kText, {}};
    text_.tempSubString(at_, length).toUTF8String(word.text);
    words_.push_back(std::move(word));
    at_ += length;
  }

  /// A spelling that became a special token's in lower case is no special token, but is cut out as
  /// a whole; the byte-level stage then splits it again.
  bool take_special_spelling() {
    for (const std::string_view spelling : {Bpe::kStart, Bpe::kEnd}) {
      if (!starts_with(spelling)) continue;
      take(2);
      take(static_cast<int32_t>(spelling.size()) - 4);
      take(2);
      return true;
    }
    return false;
  }

  bool take_contraction() {
    for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}) {
      if (!starts_with(ending)) continue;
      take(static_cast<int32_t>(ending.size()));
      return true;
    }
    return false;
  }

  void take_class() {
    const Class first = class_of(text_.char32At(at_));
    int32_t end = text_.moveIndex32(at_, 1);
    while (first != Class::kNumber && end < text_.length() &&
           class_of(text_.char32At(end)) == first) {
      end = text_.moveIndex32(end, 1);
    }
    if (first == Class::kSpace) {
      at_ = end;
    } else {
      take(end - at_);
    }
  }

  const icu::UnicodeString& text_;
  std::vector<CaptionWord>& words_;
  int32_t at_ = 0;
};

}  // namespace

std::vector<CaptionWord> split_caption(std::string_view text) {
  std::vector<CaptionWord> words;
  while (!text.empty()) {
    const size_t start = text.find(Bpe::kStart);
    const size_t end = text.find(Bpe::kEnd);
    const size_t cut = std::min({start, end, text.size()});
    Splitter(normalise(text.substr(0, cut)), words).run();
    if (cut == text.size()) break;
    words.push_back({cut == start ? CaptionWord::kStart : CaptionWord::kEnd, {}});
    text.remove_prefix(cut + (cut == start ? Bpe::kStart : Bpe::kEnd).size());
  }
  return words;
}

}  // namespace kessoku::model
