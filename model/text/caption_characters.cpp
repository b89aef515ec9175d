#include "model/text/caption_characters.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/unistr.h>

#include <stdexcept>

#include "model/text/newer_characters.h"

namespace kessoku::model {

namespace {

/// The Unicode version that brought a character; 0 if ICU does not know it.
int version_of(uint32_t c) {
  UVersionInfo version;
  u_charAge(static_cast<UChar32>(c), version);
  return version[0];
}

/// Known to every ICU in use: newer characters are looked up in tables of our own.
bool is_old(uint32_t c) {
  const int version = version_of(c);
  UVersionInfo exact;
  u_charAge(static_cast<UChar32>(c), exact);
  return version > 0 && (version < 15 || (version == 15 && exact[1] == 0));
}

bool nfc_active(uint32_t c) {
  const int version = version_of(c);
  if (version == 0 || version > 9) return false;
  const auto character = static_cast<UChar32>(c);
  return u_getIntPropertyValue(character, UCHAR_NFC_QUICK_CHECK) != UNORM_YES ||
         u_getCombiningClass(character) != 0;
}

uint32_t lower_of(uint32_t c) {
  return is_old(c) ? static_cast<uint32_t>(u_tolower(static_cast<UChar32>(c)))
                   : newer_lower_case(c);
}

void append_utf8(uint32_t c, std::string& out) {
  char bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, c);
  out.append(bytes, static_cast<size_t>(length));
}

}  // namespace

struct CaptionCharacters::Nfc {
  explicit Nfc(UErrorCode& status)
      : old(icu::UnicodeSet(u"[:age=9.0:]", status)),
        filtered(*icu::Normalizer2::getNFCInstance(status), *old.freeze()) {}

  icu::UnicodeSet old;
  icu::FilteredNormalizer2 filtered;
};

CaptionCharacters::CaptionCharacters(FrontEnd front_end) : front_end_(front_end) {
  UErrorCode status = U_ZERO_ERROR;
  nfc_ = std::make_unique<const Nfc>(status);
  if (U_FAILURE(status)) throw std::runtime_error("ICU has no normalization data");
  table_.resize(kTabulated);
  for (uint32_t c = 0; c < kTabulated; ++c) table_[c] = flags_of(c);
}

CaptionCharacters::~CaptionCharacters() = default;

CharacterClass CaptionCharacters::find_class(uint32_t c) const {
  const bool openai = front_end_ == FrontEnd::kOpenAi;
  // Python's regex, ignoring case, finds U+0345 neither in a class nor in its complement.
  if (openai && c == 0x345) return CharacterClass::kSpace;
  if (!is_old(c)) {
    if (is_newer_letter(c) || (openai && is_newest_letter(c))) return CharacterClass::kLetter;
    if (is_newer_number(c) || (openai && is_newest_number(c))) return CharacterClass::kNumber;
    return CharacterClass::kOther;
  }
  const auto character = static_cast<UChar32>(c);
  const uint32_t category = U_GET_GC_MASK(character);
  if ((category & U_GC_L_MASK) != 0) return CharacterClass::kLetter;
  if ((category & U_GC_N_MASK) != 0) return CharacterClass::kNumber;
  return u_isUWhiteSpace(character) != 0 ? CharacterClass::kSpace : CharacterClass::kOther;
}

uint8_t CaptionCharacters::flags_of(uint32_t c) const {
  auto flags = static_cast<uint8_t>(find_class(c));
  if (lower_of(c) != c) flags |= kHasLower;
  if (nfc_active(c)) flags |= kNfcActive;
  return flags;
}

void CaptionCharacters::append_lower(uint32_t c, std::string& out) const {
  append_utf8(lower_of(c), out);
  // The one letter whose lower case, out of any context, is two characters.
  if (c == 0x130) append_utf8(0x307, out);
}

std::string CaptionCharacters::compose(std::string_view text) const {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeString composed;
  nfc_->filtered.normalize(
      icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())}), composed,
      status);
  if (U_FAILURE(status)) throw std::runtime_error("ICU could not normalize a text");
  std::string out;
  composed.toUTF8String(out);
  return out;
}

bool CaptionCharacters::lower(std::string_view text, bool composed, std::string& out) const {
  out.reserve(text.size() + 8);
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  const auto length = static_cast<int32_t>(text.size());
  for (int32_t at = 0; at < length;) {
    const uint8_t byte = bytes[at];
    if (byte < 0x80) {
      out += static_cast<char>(byte >= 'A' && byte <= 'Z' ? byte + 32 : byte);
      ++at;
      continue;
    }
    const int32_t begin = at;
    UChar32 character;
    U8_NEXT_OR_FFFD(bytes, at, length, character);
    const auto c = static_cast<uint32_t>(character);
    const uint8_t flags = c < kTabulated ? table_[c] : flags_of(c);
    if ((flags & kNfcActive) != 0 && !composed) return false;
    if ((flags & kHasLower) != 0) {
      append_lower(c, out);
    } else if (c == 0xFFFD) {
      append_utf8(c, out);  // what stands there may be no UTF-8
    } else {
      out.append(text.substr(static_cast<size_t>(begin), static_cast<size_t>(at - begin)));
    }
  }
  return true;
}

std::string CaptionCharacters::normalize(std::string_view text) const {
  std::string out;
  if (lower(text, /*composed=*/false, out)) return out;  // most texts are NFC, and seen to be
  out.clear();
  lower(compose(text), /*composed=*/true, out);
  return out;
}

}  // namespace kessoku::model
