#include "data/captions/caption.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <stdexcept>

namespace kessoku::data {

namespace {

/// No caption that a person wrote is longer; a mistaken file is not read into memory.
constexpr uint64_t kLongest = 1 << 20;

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

}  // namespace

std::string strip(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  for (size_t size = leading_space(text); size > 0; size = leading_space(text))
    text.remove_prefix(size);
  for (size_t size = trailing_space(text); size > 0; size = trailing_space(text))
    text.remove_suffix(size);
  return std::string(text);
}

Text read_caption_file(const std::filesystem::path& path) { return read_text_file(path, kLongest); }

NameCaption file_name_caption(const std::string& file_name) {
  const std::string stem = strip(to_utf8(stem_of(file_name)));
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
  if (!is_utf8(text)) return to_utf8(text);
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
