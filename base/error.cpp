#include "base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace kessoku {

namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

/// Bytes of an error; names in files may be longer.
constexpr size_t kLongest = 2000;

/// Control characters, which names in files may hold, as \x1B: they would break the line, or drive
/// the terminal. What is far too long is cut in its middle.
std::string on_one_line(const std::string& message) {
  std::string line;
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02X}", byte);
    } else {
      line += c;
    }
  }
  if (line.size() > kLongest) {  // the end says what was expected
    size_t end = line.size() - kLongest / 2;
    while (end < line.size() && (line[end] & 0xC0) == 0x80) ++end;  // within a character of UTF-8
    size_t begin = kLongest / 2;
    while ((line[begin] & 0xC0) == 0x80) --begin;
    line = line.substr(0, begin) + " … " + line.substr(end);
  }
  return line;
}

}  // namespace

Error::Error(ExitCode code, const std::string& message)
    : std::runtime_error(on_one_line(message)), code_(code) {}

std::string nearest_word(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace kessoku
