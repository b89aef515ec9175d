#include "model/text/html_entities.h"

#include <algorithm>
#include <array>

namespace kessoku::model {

namespace {

struct Entity {
  std::string_view name;
  std::u32string_view text;
};

constexpr Entity kEntities[] = {
#include "model/text/html_entities.inc"
};

constexpr size_t kLongestName = 32;  // "CounterClockwiseContourIntegral;"

/// Of the C1 controls.
constexpr std::array<char32_t, 32> kWindows1252 = {
    0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6,  0x2030, 0x160,
    0x2039, 0x152,  0x8D,   0x17D,  0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};

bool is_noncharacter(char32_t c) { return (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE; }

/// Appends what a numeric reference stands for.
void append_number(char32_t number, std::u32string& out) {
  if (number == 0 || number > 0x10FFFF || (number >= 0xD800 && number < 0xE000)) {
    out += U'\uFFFD';
  } else if (number == 0x0D) {
    out += U'\r';
  } else if (number >= 0x80 && number < 0xA0) {
    out += windows_1252(number);
  } else if (!(number < 9 || number == 0x0B || (number >= 0x0E && number < 0x20) ||
               number == 0x7F || is_noncharacter(number))) {
    out += number;
  }
}

int digit_of(char32_t c, int base) {
  if (c >= U'0' && c <= U'9') return static_cast<int>(c - U'0');
  if (base == 16 && c >= U'a' && c <= U'f') return static_cast<int>(c - U'a') + 10;
  if (base == 16 && c >= U'A' && c <= U'F') return static_cast<int>(c - U'A') + 10;
  return -1;
}

/// `rest` begins after "&#". Appends the character and returns how much of `rest` it took, or 0.
size_t take_number(std::u32string_view rest, std::u32string& out) {
  const int base = !rest.empty() && (rest[0] == U'x' || rest[0] == U'X') ? 16 : 10;
  size_t at = base == 16 ? 1 : 0;
  const size_t first = at;
  char32_t number = 0;
  for (; at < rest.size() && digit_of(rest[at], base) >= 0; ++at) {
    if (number <= 0x10FFFF)
      number =
          number * static_cast<char32_t>(base) + static_cast<char32_t>(digit_of(rest[at], base));
  }
  if (at == first) return 0;
  append_number(number, out);
  return at + (at < rest.size() && rest[at] == U';' ? 1 : 0);
}

bool ends_name(char32_t c) {
  return c == U'\t' || c == U'\n' || c == U'\f' || c == U' ' || c == U'<' || c == U'&' ||
         c == U'#' || c == U';';
}

/// `rest` begins after "&". Appends the longest name's characters and returns how much of `rest`
/// that took, or 0.
size_t take_name(std::u32string_view rest, std::u32string& out) {
  size_t length = 0;
  while (length < rest.size() && length < kLongestName && !ends_name(rest[length])) ++length;
  if (length == 0) return 0;
  if (length < rest.size() && rest[length] == U';') ++length;
  std::string name;
  for (size_t i = 0; i < length && rest[i] < 0x80; ++i) name += static_cast<char>(rest[i]);
  for (; name.size() > 1; name.pop_back()) {
    const std::u32string_view text = html_entity(name);
    if (text.empty()) continue;
    out += text;
    return name.size();
  }
  return 0;
}

}  // namespace

std::u32string_view html_entity(std::string_view name) {
  const auto* found = std::ranges::lower_bound(kEntities, name, {}, &Entity::name);
  return found != std::end(kEntities) && found->name == name ? found->text : std::u32string_view();
}

char32_t windows_1252(char32_t control) { return kWindows1252[control - 0x80]; }

std::u32string unescape_html(std::u32string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t plain = std::min(text.find(U'&'), text.size());
    out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const bool number = text.size() > 1 && text[1] == U'#';
    const size_t taken = number ? take_number(text.substr(2), out) : take_name(text.substr(1), out);
    if (taken == 0) out += U'&';
    text.remove_prefix(taken == 0 ? 1 : taken + (number ? 2 : 1));
  }
  return out;
}

}  // namespace kessoku::model
