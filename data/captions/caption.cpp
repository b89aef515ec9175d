#include "data/captions/caption.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <stdexcept>

#include "base/error.h"
#include "base/file.h"

namespace kessoku::data {

namespace {

/// No caption that a person wrote is longer; a mistaken file is not read into memory.
constexpr uint64_t kLongest = 1 << 20;

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

/// Length of the well-formed sequence at the start of `bytes`, 0 if it is none (Unicode 15, table
/// 3-7).
size_t sequence_length(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(at(i))) return 0;
  }
  const bool overlong = (lead == 0xE0 && at(1) < 0xA0) || (lead == 0xF0 && at(1) < 0x90);
  const bool surrogate = lead == 0xED && at(1) > 0x9F;
  const bool beyond = lead == 0xF4 && at(1) > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

/// White space of more than one byte in UTF-8, as Python strips it.
constexpr std::string_view kWideSpaces[] = {
    "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
    "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
    "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
    "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

bool is_space(char c) { return (c >= '\t' && c <= '\r') || (c >= '\x1C' && c <= ' '); }

/// Bytes of the white space at the start, or the end; 0 if there is none.
size_t leading_space(std::string_view text) {
  if (text.empty()) return 0;
  if (is_space(text.front())) return 1;
  for (const std::string_view space : kWideSpaces) {
    if (text.starts_with(space)) return space.size();
  }
  return 0;
}

size_t trailing_space(std::string_view text) {
  if (text.empty()) return 0;
  if (is_space(text.back())) return 1;
  for (const std::string_view space : kWideSpaces) {
    if (text.ends_with(space)) return space.size();
  }
  return 0;
}

/// Halves of pairs that stand alone become U+FFFD.
std::string utf16_to_utf8(std::string_view bytes, bool little_endian) {
  std::u16string units;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const auto low = static_cast<unsigned char>(bytes[i + (little_endian ? 0 : 1)]);
    const auto high = static_cast<unsigned char>(bytes[i + (little_endian ? 1 : 0)]);
    units += static_cast<char16_t>(high << 8 | low);
  }
  std::string text;
  icu::UnicodeString(units.data(), static_cast<int32_t>(units.size())).toUTF8String(text);
  return text;
}

}  // namespace

bool is_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = sequence_length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string latin1_to_utf8(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return text;
}

std::string strip(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  for (size_t size = leading_space(text); size > 0; size = leading_space(text))
    text.remove_prefix(size);
  for (size_t size = trailing_space(text); size > 0; size = trailing_space(text))
    text.remove_suffix(size);
  return std::string(text);
}

Text decode_text(std::string_view bytes) {
  Text result;
  if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) {
    result.text = utf16_to_utf8(bytes.substr(2), bytes[0] == '\xFF');
  } else if (is_utf8(bytes)) {
    result.text = bytes.starts_with("\xEF\xBB\xBF") ? bytes.substr(3) : bytes;
  } else {
    result.text = latin1_to_utf8(bytes);
    result.warning = "not UTF-8, read as Latin-1";
  }
  size_t kept = 0;
  for (size_t i = 0; i < result.text.size(); ++i) {
    if (result.text.compare(i, 2, "\r\n") != 0) result.text[kept++] = result.text[i];
  }
  result.text.resize(kept);
  return result;
}

Text read_text_file(const std::filesystem::path& path) {
  return decode_text(read_file(path, kLongest));
}

NameCaption file_name_caption(const std::string& file_name) {
  const std::string stem = strip(decode_text(stem_of(file_name)).text);
  const size_t underscore = stem.find('_');
  if (underscore == std::string::npos) return {stem, false};
  const auto is_word = [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; };
  const bool cut = std::ranges::any_of(stem.substr(underscore), [&](char c) {
    return is_word(c) || static_cast<unsigned char>(c) >= 0x80;
  });
  return {strip(stem.substr(0, underscore)), cut};
}

std::string compose(const std::string& text) {
  if (std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return text;
  if (!is_utf8(text)) return latin1_to_utf8(text);
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  if (U_FAILURE(status)) throw std::logic_error("ICU has no NFC");
  std::string composed;
  icu::StringByteSink<std::string> sink(&composed);
  nfc->normalizeUTF8(0, text, sink, nullptr, status);
  if (U_FAILURE(status)) throw std::logic_error("ICU cannot compose UTF-8");
  return composed;
}

std::string stem_of(const std::string& file_name) {
  return file_name.substr(0, file_name.rfind('.'));
}

std::string extension_of(const std::string& file_name) {
  const size_t dot = file_name.rfind('.');
  std::string extension = dot == std::string::npos ? "" : file_name.substr(dot);
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return extension;
}

}  // namespace kessoku::data
