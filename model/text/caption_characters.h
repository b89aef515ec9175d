#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/text_normalization.h"

namespace kessoku::model {

/// What CLIP's pattern tells characters apart by.
enum class CharacterClass : uint8_t { kOther, kLetter, kNumber, kSpace };

/// Unicode as a tokenizer knows it: from ICU, but of fixed versions, so that ids do not depend on
/// the system's ICU. Immutable: safe for concurrent use.
class CaptionCharacters {
 public:
  explicit CaptionCharacters(FrontEnd front_end);
  ~CaptionCharacters();

  CharacterClass class_of(uint32_t c) const {
    return c < kTabulated ? static_cast<CharacterClass>(table_[c] & kClassMask) : find_class(c);
  }
  /// Hugging Face's normalizer: NFC as of Unicode 9, then lower case, character by character and
  /// without regard to its neighbors. White space is left as it is. Invalid UTF-8 becomes U+FFFD.
  std::string normalize(std::string_view text) const;

 private:
  static constexpr uint32_t kTabulated = 0x10000;  // the BMP
  static constexpr uint8_t kClassMask = 3;
  static constexpr uint8_t kHasLower = 4;
  static constexpr uint8_t kNfcActive = 8;  // alone, or beside others, it may not be NFC

  CharacterClass find_class(uint32_t c) const;
  uint8_t flags_of(uint32_t c) const;
  void append_lower(uint32_t c, std::string& out) const;
  std::string compose(std::string_view text) const;
  /// Appends the lower case; false, and then only a part of it, where the text may not be NFC and
  /// nobody `composed` it.
  bool lower(std::string_view text, bool composed, std::string& out) const;

  FrontEnd front_end_;
  std::vector<uint8_t> table_;
  struct Nfc;
  std::unique_ptr<const Nfc> nfc_;
};

}  // namespace kessoku::model
