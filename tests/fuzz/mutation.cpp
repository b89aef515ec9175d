#include "tests/fuzz/mutation.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace kessoku::fuzz {

namespace {

constexpr std::array<uint64_t, 12> kNumbers{0,          1,           0x7F,      0x80,
                                            0xFF,       0x7FFF,      0xFFFF,    0x7FFFFFFF,
                                            0xFFFFFFFF, 0x100000000, INT64_MAX, UINT64_MAX};
constexpr std::array<const char*, 16> kTexts{"0",
                                             "-1",
                                             "1",
                                             "7",
                                             "4294967296",
                                             "9223372036854775807",
                                             "18446744073709551616",
                                             "1e9",
                                             "1e308",
                                             "16777216",
                                             "null",
                                             "true",
                                             "[]",
                                             "{}",
                                             "\"\"",
                                             "99999999999999999999999999"};

size_t place_in(const std::string& content, RandomStream& random) {
  if (content.empty()) return 0;
  constexpr size_t kEdge = 2048;
  const size_t edge = std::min(kEdge, content.size());
  switch (random.below(4)) {
    case 0:
    case 1:
      return random.below(edge);
    case 2:
      return content.size() - 1 - random.below(edge);
    default:
      return random.below(content.size());
  }
}

size_t length_of(const std::string& content, size_t at, RandomStream& random) {
  const size_t most = std::min<size_t>(content.size() - at, size_t{1} << random.below(11));
  return most == 0 ? 0 : 1 + random.below(most);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// A list in a list in a list …
std::string nested() {
  constexpr size_t kDepth = 100'000;
  return std::string(kDepth, '[') + std::string(kDepth, ']');
}

/// Another number, or something else, where one stands as text.
void replace_number(std::string& content, RandomStream& random) {
  size_t begin = place_in(content, random);
  while (begin < content.size() && !is_digit(content[begin])) ++begin;
  size_t end = begin;
  while (end < content.size() && is_digit(content[end])) ++end;
  const size_t choice = random.below(kTexts.size() + 1);
  content.replace(begin, end - begin, choice < kTexts.size() ? kTexts[choice] : nested());
}

void overwrite_number(std::string& content, RandomStream& random) {
  const size_t at = place_in(content, random);
  uint64_t number = kNumbers[random.below(kNumbers.size())] - random.below(2);
  const size_t bytes = std::min<size_t>(size_t{1} << random.below(4), content.size() - at);
  std::memcpy(content.data() + at, &number, bytes);
}

void change(std::string& content, RandomStream& random) {
  const size_t at = place_in(content, random);
  const size_t length = length_of(content, at, random);
  switch (random.below(9)) {
    case 0:
      content[at] = static_cast<char>(content[at] ^ 1 << random.below(8));
      break;
    case 1:
      content[at] = static_cast<char>(random.below(256));
      break;
    case 2:
      overwrite_number(content, random);
      break;
    case 3:
    case 4:
      replace_number(content, random);
      break;
    case 5:
      content.resize(at);
      break;
    case 6:
      content.erase(at, length);
      break;
    case 7:
      content.insert(place_in(content, random), content.substr(at, length));
      break;
    default: {
      const std::string part = content.substr(place_in(content, random), length);
      content.replace(at, part.size(), part);
    }
  }
}

}  // namespace

std::string mutate(std::string content, RandomStream& random) {
  const uint64_t changes = 1 + random.below(uint64_t{1} << random.below(4));
  for (uint64_t i = 0; i < changes && !content.empty(); ++i) change(content, random);
  return content;
}

}  // namespace kessoku::fuzz
