#include "data/dataset/weight_csv.h"

#include <fmt/format.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/text_file.h"
#include "data/captions/caption.h"
#include "data/documents/node.h"

namespace kessoku::data {

namespace {

constexpr uint64_t kMostBytes = 1 << 20;

std::u32string to_code_points(const std::string& text) {
  std::u32string points;
  const icu::UnicodeString units = icu::UnicodeString::fromUTF8(text);
  for (int32_t i = 0; i < units.length(); i = units.moveIndex32(i, 1))
    points += static_cast<char32_t>(units.char32At(i));
  return points;
}

/// A pattern's element at `at` against one character. `next` becomes the place behind the element.
bool element_matches(const std::u32string& pattern, size_t at, char32_t c, size_t& next) {
  next = at + 1;
  if (pattern[at] == U'?') return true;
  if (pattern[at] != U'[') return pattern[at] == c;
  size_t begin = at + 1;
  const bool negated = begin < pattern.size() && pattern[begin] == U'!';
  if (negated) ++begin;
  const size_t end = pattern.find(U']', begin + 1);  // "]" right at the start is a member
  if (end == std::u32string::npos) return c == U'[';
  next = end + 1;
  bool member = false;
  for (size_t i = begin; i < end; ++i) {
    if (i + 2 < end && pattern[i + 1] == U'-') {
      member |= pattern[i] <= c && c <= pattern[i + 2];
      i += 2;
    } else {
      member |= pattern[i] == c;
    }
  }
  return member != negated;
}

/// One line of CSV: fields between commas, in quotes where they hold some.
std::vector<std::string> split_fields(std::string_view line, const std::string& where) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && line.substr(i + 1, 1) == "\"") {
      fields.back() += line[++i];
    } else if (c == '"' && (quoted || fields.back().empty())) {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  if (quoted) throw DataError(where + ": a quote is not closed");
  return fields;
}

}  // namespace

bool fnmatch(const std::string& pattern_text, const std::string& text_text) {
  const std::u32string pattern = to_code_points(pattern_text), text = to_code_points(text_text);
  size_t p = 0, i = 0;
  size_t star = std::u32string::npos, star_at = 0;  // where the last star may take one more
  while (i < text.size()) {
    size_t next = 0;
    if (p < pattern.size() && pattern[p] == U'*') {
      star = p++;
      star_at = i;
    } else if (p < pattern.size() && element_matches(pattern, p, text[i], next)) {
      p = next;
      ++i;
    } else if (star != std::u32string::npos) {
      p = star + 1;
      i = ++star_at;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == U'*') ++p;
  return p == pattern.size();
}

WeightCsv::WeightCsv(const std::filesystem::path& path) {
  auto [text, warning] = read_text_file(path, kMostBytes);
  warning_ = std::move(warning);
  std::unordered_map<std::string, size_t> places;
  size_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const std::string where = fmt::format("{}:{}", path.string(), ++line_number);
    if (strip(line).empty()) continue;
    const std::vector<std::string> fields = split_fields(line, where);
    if (fields.size() != 2) {
      throw DataError(
          fmt::format("{}: {} columns; a line is PATTERN,WEIGHT", where, fields.size()));
    }
    const std::optional<double> weight = parse_number(strip(fields[1]));
    if (!weight || *weight < 0) {
      throw DataError(fmt::format("{}: the weight '{}' is not a number from 0 upwards", where,
                                  fields[1].substr(0, 40)));
    }
    const std::string pattern = compose(fields[0]);
    const auto [place, is_new] = places.emplace(pattern, entries_.size());
    if (is_new) entries_.push_back({.pattern = pattern, .weight = 0});
    entries_[place->second].weight = *weight;
  }
}

double WeightCsv::weight(const std::string& name, const std::string& path) {
  auto found = std::ranges::find(entries_, compose(name), &Entry::pattern);
  if (found == entries_.end()) {
    const std::string composed = compose(path);
    found = std::ranges::find_if(
        entries_, [&](const Entry& entry) { return fnmatch(entry.pattern, composed); });
  }
  if (found == entries_.end()) return 1;
  found->used = true;
  return found->weight;
}

std::vector<std::string> WeightCsv::unused() const {
  std::vector<std::string> patterns;
  for (const Entry& entry : entries_) {
    if (!entry.used) patterns.push_back(entry.pattern);
  }
  return patterns;
}

}  // namespace kessoku::data
