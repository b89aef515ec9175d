#include "base/text_file.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "base/error.h"
#include "base/file.h"

namespace kessoku {

namespace {

constexpr std::string_view kMark = "\xEF\xBB\xBF";
constexpr char32_t kReplacement = 0xFFFD;

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

void append_utf8(std::string& text, char32_t c) {
  const auto add = [&](char32_t bits) { text += static_cast<char>(bits); };
  if (c < 0x80) return add(c);
  if (c < 0x800) {
    add(0xC0 | c >> 6);
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
  }
  add(0x80 | (c & 0x3F));
}

/// Halves of pairs that stand alone, or a byte, become U+FFFD and are counted in `broken`.
std::string utf16_to_utf8(std::string_view bytes, bool little_endian, size_t& broken) {
  const auto unit = [&](size_t i) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<char32_t>(little_endian ? second << 8 | first : first << 8 | second);
  };
  const auto is_low = [](char32_t c) { return c >= 0xDC00 && c < 0xE000; };
  std::string text;
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) {
    char32_t c = unit(i);
    if (c >= 0xD800 && c < 0xDC00 && i + 3 < bytes.size() && is_low(unit(i + 2))) {
      i += 2;
      c = 0x10000 + ((c - 0xD800) << 10) + (unit(i) - 0xDC00);
    } else if (c >= 0xD800 && c < 0xE000) {
      ++broken;
      c = kReplacement;
    }
    append_utf8(text, c);
  }
  broken += i < bytes.size();
  return text;
}

/// The unit's byte order if the bytes are UTF-16 without a mark and can hardly be anything else:
/// one half of the units has zeros and the other none, and there are no control characters.
std::optional<bool> unmarked_little_endian(std::string_view bytes) {
  if (bytes.size() < 2 || bytes.size() % 2 != 0) return std::nullopt;
  std::array<size_t, 2> zeros{};
  for (size_t i = 0; i < bytes.size(); ++i) zeros[i % 2] += bytes[i] == '\0';
  if ((zeros[0] > 0) == (zeros[1] > 0)) return std::nullopt;
  const bool little_endian = zeros[1] > 0;
  if (is_utf8(bytes) && 4 * zeros[little_endian ? 1 : 0] < bytes.size()) return std::nullopt;
  size_t broken = 0;
  for (const char c : utf16_to_utf8(bytes, little_endian, broken)) {
    if (static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\r' && c != '\t')
      return std::nullopt;
  }
  return broken == 0 ? std::optional(little_endian) : std::nullopt;
}

/// Windows-1252, of which five bytes mean nothing.
std::string windows_to_utf8(std::string_view bytes) {
  constexpr std::array<char32_t, 32> kPunctuation{
      0x20AC,       kReplacement, 0x201A, 0x0192, 0x201E, 0x2026,       0x2020, 0x2021,
      0x02C6,       0x2030,       0x0160, 0x2039, 0x0152, kReplacement, 0x017D, kReplacement,
      kReplacement, 0x2018,       0x2019, 0x201C, 0x201D, 0x2022,       0x2013, 0x2014,
      0x02DC,       0x2122,       0x0161, 0x203A, 0x0153, kReplacement, 0x017E, 0x0178};
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    append_utf8(text, byte >= 0x80 && byte < 0xA0 ? kPunctuation[byte - 0x80u] : byte);
  }
  return text;
}

/// What is UTF-8 of bytes that are not all, if it is most of what is not ASCII.
std::optional<std::string> valid_part(std::string_view bytes) {
  std::string text;
  size_t valid = 0, invalid = 0;
  while (!bytes.empty()) {
    const size_t length = sequence_length(bytes);
    (length == 0 ? invalid : valid) += length != 1;
    text += bytes.substr(0, length);
    bytes.remove_prefix(std::max<size_t>(length, 1));
    while (length == 0 && !bytes.empty() && is_continuation(static_cast<unsigned char>(bytes[0])))
      bytes.remove_prefix(1);
  }
  return valid >= invalid ? std::optional(std::move(text)) : std::nullopt;
}

/// Line ends, marks where files were joined, NUL.
Text tidied(std::string_view raw) {
  Text result;
  size_t zeros = 0;
  bool line_begins = true;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (line_begins && raw.substr(i).starts_with(kMark)) {
      i += kMark.size() - 1;
      continue;
    }
    if (raw[i] == '\0') {
      ++zeros;
      continue;
    }
    if (raw[i] == '\r' && raw.substr(i + 1).starts_with('\n')) continue;
    result.text += raw[i] == '\r' ? '\n' : raw[i];
    line_begins = result.text.back() == '\n';
  }
  if (zeros > 0) result.warning = "holds NUL bytes, which are left out";
  return result;
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

std::string to_utf8(std::string_view bytes) {
  if (is_utf8(bytes)) return std::string(bytes);
  return valid_part(bytes).value_or(windows_to_utf8(bytes));
}

Text decode_text(std::string_view bytes) {
  const bool marked = bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF");
  const std::optional<bool> little_endian =
      marked ? std::optional(bytes[0] == '\xFF') : unmarked_little_endian(bytes);
  if (little_endian) {
    size_t broken = 0;
    Text result = tidied(utf16_to_utf8(bytes.substr(marked ? 2 : 0), *little_endian, broken));
    if (broken > 0) result.warning = "holds broken characters of UTF-16";
    return result;
  }
  if (is_utf8(bytes)) return tidied(bytes);
  if (const std::optional<std::string> valid = valid_part(bytes)) {
    Text result = tidied(*valid);
    result.warning = "holds bytes that are not UTF-8, which are left out";
    return result;
  }
  Text result = tidied(windows_to_utf8(bytes));
  result.warning = "not UTF-8, read as Windows-1252; save it as UTF-8";
  return result;
}

Text read_text_file(const std::filesystem::path& path, uint64_t max_bytes) {
  return decode_text(read_file(path, max_bytes));
}

std::string read_utf8_file(const std::filesystem::path& path, uint64_t max_bytes) {
  Text text = read_text_file(path, max_bytes);
  if (!text.warning.empty()) {
    const std::string problem = text.warning.substr(0, text.warning.find(','));
    throw DataError(fmt::format("{}: {}; save it as UTF-8", path.string(), problem));
  }
  return std::move(text.text);
}

}  // namespace kessoku
