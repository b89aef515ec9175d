#include "model/pipeline/foreign_syntax.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace kessoku::model {

namespace {

constexpr std::string_view kSpaces = " \t\n\r";

std::string_view trimmed(std::string_view text) {
  const size_t first = std::min(text.find_first_not_of(kSpaces), text.size());
  text.remove_prefix(first);
  return text.substr(0, text.find_last_not_of(kSpaces) + 1);
}

bool is_number(std::string_view text) {
  text = trimmed(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && error == std::errc() && end == text.data() + text.size();
}

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// Splits at `mark`, not within round brackets.
std::vector<std::string_view> split_outside(std::string_view text, char mark) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i < text.size() && (text[i] != mark || depth > 0)) continue;
    parts.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return parts;
}

/// Puts `replacement` in the place of [begin, end), without leaving two commas side by side.
void replace(std::string& text, size_t begin, size_t end, const std::string& replacement) {
  std::string before = text.substr(0, begin), after = text.substr(end);
  if (replacement.empty()) {
    const size_t left = before.find_last_not_of(kSpaces);
    const size_t right = after.find_first_not_of(kSpaces);
    const bool right_comma = right != after.npos && after[right] == ',';
    if (right_comma && (left == before.npos || before[left] == ',')) {
      const size_t next = std::min(after.find_first_not_of(kSpaces, right + 1), after.size());
      after.erase(0, left + 1 == before.size() ? right + 1 : next);
    }
    if (right == after.npos && left != before.npos && before[left] == ',') before.erase(left);
  }
  text = before + replacement + after;
}

class Rewriter {
 public:
  explicit Rewriter(std::string_view prompt) : text_(prompt) {}

  NativePrompt rewrite() {
    drop_networks();
    settle_edits();
    join_parts();
    const bool changed = !notes_.empty();
    return {changed ? std::string(trimmed(text_)) : std::move(text_), std::move(notes_)};
  }

 private:
  void drop_networks() {
    for (const std::string_view kind : {"<lora:", "<lyco:", "<hypernet:"}) {
      for (size_t at = 0; (at = text_.find(kind, at)) != text_.npos;) {
        const size_t end = text_.find('>', at);
        if (end == text_.npos) break;
        notes_.push_back(fmt::format("{} is left out: such networks are not read",
                                     text_.substr(at, end + 1 - at)));
        replace(text_, at, end + 1, "");
      }
    }
  }

  /// Innermost brackets first, so that an edit within an edit is settled, too.
  void settle_edits() {
    size_t open = text_.npos;
    for (size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '[') {
        open = i;
      } else if (text_[i] == ']' && open != text_.npos) {
        const std::string content = text_.substr(open + 1, i - open - 1);
        const std::optional<std::string> settled = settle(content);
        if (settled) {
          notes_.push_back(
              fmt::format("[{}] is drawn as \"{}\" from the first step on: prompts do "
                          "not change on the way",
                          content, *settled));
          replace(text_, open, i + 1, *settled);
          i = text_.npos;  // begin again
        }
        open = text_.npos;
      }
    }
  }

  /// What an edit is in the end; nothing if it is none.
  static std::optional<std::string> settle(std::string_view content) {
    const std::vector<std::string_view> parts = split_outside(content, ':');
    if (parts.size() == 3 && is_number(parts[2])) return std::string(trimmed(parts[1]));
    if (parts.size() == 2 && is_number(parts[1])) return std::string(trimmed(parts[0]));
    const std::vector<std::string_view> turns = split_outside(content, '|');
    if (turns.size() > 1) return std::string(trimmed(turns[0]));
    return std::nullopt;
  }

  void join_parts() {
    constexpr std::string_view kAnd = "AND";
    std::vector<std::string> parts;
    size_t begin = 0;
    for (size_t at = 0; (at = text_.find(kAnd, at)) != text_.npos; at += kAnd.size()) {
      const size_t after = at + kAnd.size();
      if ((at > 0 && is_word(text_[at - 1])) || (after < text_.size() && is_word(text_[after])))
        continue;
      parts.push_back(text_.substr(begin, at - begin));
      begin = after;
    }
    if (parts.empty()) return;
    parts.push_back(text_.substr(begin));
    std::string joined;
    for (const std::string& part : parts) {
      const std::string_view words = without_weight(trimmed(part));
      if (words.empty()) continue;
      joined += (joined.empty() ? "" : ", ") + std::string(words);
    }
    text_ = joined;
    notes_.push_back("AND is read as a comma: prompts are not mixed with each other");
  }

  /// "a cat:1.2" → "a cat".
  static std::string_view without_weight(std::string_view part) {
    const size_t colon = part.rfind(':');
    if (colon == part.npos || !is_number(part.substr(colon + 1))) return part;
    return trimmed(part.substr(0, colon));
  }

  std::string text_;
  std::vector<std::string> notes_;
};

}  // namespace

NativePrompt without_foreign_syntax(std::string_view prompt) { return Rewriter(prompt).rewrite(); }

}  // namespace kessoku::model
