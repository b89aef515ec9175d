#include "model/text/caption_cleaning.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <stdexcept>

#include "model/text/html_entities.h"

namespace kessoku::model {

namespace {

constexpr size_t kLongestSegment = 1'000'000;  // characters that ftfy fixes at once
constexpr int kMostPasses = 50;  // ftfy has no limit: "&amp;amp;amp;…" would take it for ever
constexpr size_t kLongestEntity = 24;  // letters and digits between "&" or "&#" and ";"

icu::UnicodeString to_icu(std::u32string_view text) {
  return icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(text.data()),
                                       static_cast<int32_t>(text.size()));
}

std::u32string from_icu(const icu::UnicodeString& text) {
  std::u32string out;
  out.reserve(static_cast<size_t>(text.length()));
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1))
    out += static_cast<char32_t>(text.char32At(i));
  return out;
}

std::u32string normalized(std::u32string_view text, bool compatible) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* form = compatible ? icu::Normalizer2::getNFKCInstance(status)
                                            : icu::Normalizer2::getNFCInstance(status);
  if (U_FAILURE(status)) throw std::runtime_error("ICU has no normalization data");
  return from_icu(form->normalize(to_icu(text), status));
}

bool is_ascii_alphanumeric(char32_t c) {
  return (c >= U'0' && c <= U'9') || (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z');
}

/// ftfy also knows names in capitals, as long as HTML does not.
std::u32string entity_in_capitals(const std::string& name) {
  std::string lower = name;
  for (char& c : lower) {
    if (c >= 'a' && c <= 'z') return {};
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  const std::u32string_view text = html_entity(lower);
  std::u32string whole = U"&";
  whole.append(name.begin(), name.end());
  if (text.empty() || unescape_html(whole) != whole) return {};
  return from_icu(to_icu(text).toUpper(icu::Locale::getRoot()));
}

/// `entity` is "&…;" or "&#…;".
std::u32string fix_entity(std::u32string_view entity) {
  if (entity[1] == U'#') {
    const std::u32string text = unescape_html(entity);
    return std::u32string(text.find(U';') == text.npos ? std::u32string_view(text) : entity);
  }
  const std::string name(entity.begin() + 1, entity.end());
  const std::u32string_view text = html_entity(name);
  if (!text.empty()) return std::u32string(text);
  const std::u32string capitals = entity_in_capitals(name);
  return capitals.empty() ? std::u32string(entity) : capitals;
}

/// Entities that end in a semicolon.
std::u32string fix_entities(std::u32string_view text) {
  std::u32string out;
  while (!text.empty()) {
    const size_t plain = std::min(text.find(U'&'), text.size());
    out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const size_t first = text.size() > 1 && text[1] == U'#' ? 2 : 1;
    size_t end = first;
    while (end < text.size() && end - first <= kLongestEntity && is_ascii_alphanumeric(text[end]))
      ++end;
    const bool whole =
        end > first && end - first <= kLongestEntity && end < text.size() && text[end] == U';';
    const size_t taken = whole ? end + 1 : 1;
    out += whole ? fix_entity(text.substr(0, taken)) : std::u32string(1, text[0]);
    text.remove_prefix(taken);
  }
  return out;
}

bool is_control(char32_t c) {
  return c <= 8 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F ||
         (c >= 0x206A && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

bool is_latin_ligature(char32_t c) {
  return c == 0x132 || c == 0x133 || c == 0x149 || (c >= 0x1C4 && c <= 0x1CC) ||
         (c >= 0x1F1 && c <= 0x1F3) || (c >= 0xFB00 && c <= 0xFB06);
}

bool has_other_width(char32_t c) { return (c > 0xFF00 && c < 0xFFF0) || c == 0x3000; }

bool is_single_quote(char32_t c) { return c == 0x2BC || (c >= 0x2018 && c <= 0x201B); }
bool is_double_quote(char32_t c) { return c >= 0x201C && c <= 0x201F; }

/// Character by character, in one pass, what ftfy does in one pass after the other.
std::u32string fix_characters(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (const char32_t given : text) {
    // C1 controls are what Windows-1252 has there, as HTML takes them.
    const char32_t c = given >= 0x80 && given < 0xA0 ? windows_1252(given) : given;
    if (is_single_quote(c)) {
      out += U'\'';
    } else if (is_double_quote(c)) {
      out += U'"';
    } else if (c == 0xFB05) {
      out += U"\u017Ft";  // ftfy leaves the long s
    } else if (is_latin_ligature(c) || has_other_width(c)) {
      // The apostrophe of U+0149 is a curled one.
      for (const char32_t part : normalized({&c, 1}, /*compatible=*/true))
        out += is_single_quote(part) ? U'\'' : part;
    } else if (c == 0x2028 || c == 0x2029) {
      out += U'\n';
    } else {
      out += c;
    }
  }
  return out;
}

/// "\r\n" and "\r" as "\n"; then terminal escapes ("\033[36;44m") and control characters go.
std::u32string remove_controls(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c == U'\r') {
      if (i + 1 == text.size() || text[i + 1] != U'\n') out += U'\n';
      continue;
    }
    if (c == 0x1B && i + 1 < text.size() && text[i + 1] == U'[') {
      size_t end = i + 2;
      while (end < text.size() &&
             (text[end] == U';' || u_isdigit(static_cast<UChar32>(text[end])) != 0)) {
        ++end;
      }
      const bool letter = end < text.size() && is_ascii_alphanumeric(text[end]) && text[end] > U'9';
      if (letter) {
        i = end;
        continue;
      }
    }
    if (!is_control(c)) out += c;
  }
  return out;
}

std::u32string fix_segment(std::u32string text, bool entities) {
  for (int pass = 0; pass < kMostPasses; ++pass) {
    std::u32string fixed = entities ? fix_entities(text) : text;
    fixed = normalized(remove_controls(fix_characters(fixed)), /*compatible=*/false);
    if (fixed == text) break;
    text = std::move(fixed);
  }
  return text;
}

/// ftfy.fix_text: line by line; from the first "<" on it takes no entities, for that may be HTML.
std::u32string fix_text(std::u32string_view text) {
  std::u32string out;
  bool entities = true;
  while (!text.empty()) {
    const size_t line = text.find(U'\n');
    const size_t length = std::min(line == text.npos ? text.size() : line + 1, kLongestSegment);
    const std::u32string_view segment = text.substr(0, length);
    entities = entities && segment.find(U'<') == segment.npos;
    out += fix_segment(std::u32string(segment), entities);
    text.remove_prefix(length);
  }
  return out;
}

/// Python's str.isspace.
bool is_space(char32_t c) {
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0 || (c >= 0x1C && c <= 0x1F);
}

std::u32string collapse_spaces(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  bool pending = false;
  for (const char32_t c : text) {
    if (is_space(c)) {
      pending = !out.empty();
      continue;
    }
    if (pending) out += U' ';
    pending = false;
    out += c;
  }
  return out;
}

}  // namespace

std::string clean_caption(std::string_view caption) {
  const auto given =
      icu::UnicodeString::fromUTF8({caption.data(), static_cast<int32_t>(caption.size())});
  const std::u32string fixed = fix_text(from_icu(given));
  const std::u32string clean = collapse_spaces(unescape_html(unescape_html(fixed)));
  std::string out;
  to_icu(clean).toLower(icu::Locale::getRoot()).toUTF8String(out);
  return out;
}

}  // namespace kessoku::model
