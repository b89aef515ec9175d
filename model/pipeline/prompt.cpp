#include "model/pipeline/prompt.h"

#include <charconv>
#include <cmath>
#include <optional>

namespace kessoku::model {

namespace {

constexpr double kBracketWeight = 1.1;
constexpr double kLargestWeight = 100;  // of one bracket; beyond, the number is text
constexpr size_t kDeepest = 100;        // open brackets; beyond, they are text
constexpr std::string_view kBreak = "BREAK";

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// One pass from left to right. Each opening bracket is kept as text of its own until its
/// counterpart comes.
class PromptParser {
 public:
  explicit PromptParser(std::string_view prompt) : prompt_(prompt) {}

  std::vector<PromptRun> parse() {
    for (at_ = 0; at_ < prompt_.size();) take_one();
    return merged();
  }

 private:
  struct Opening {
    char bracket;
    size_t run;  // of the bracket itself
  };

  void take_one() {
    const char c = prompt_[at_];
    if (c == '\\' && at_ + 1 < prompt_.size() &&
        std::string_view("()[]\\").find(prompt_[at_ + 1]) != std::string_view::npos) {
      add_text(prompt_[at_ + 1]);
      at_ += 2;
    } else if ((c == '(' || c == '[') && openings_.size() < kDeepest) {
      openings_.push_back({c, runs_.size()});
      runs_.push_back({std::string(1, c)});
      runs_.push_back({});
      ++at_;
    } else if (const auto weight = c == ':' && is_open('(') ? explicit_weight() : std::nullopt) {
      close('(', *weight);
    } else if (c == ')' && is_open('(')) {
      close('(', kBracketWeight);
      ++at_;
    } else if (c == ']' && is_open('[')) {
      close('[', 1 / kBracketWeight);
      ++at_;
    } else if (at_break()) {
      at_ += kBreak.size();
      runs_.push_back({.text = "", .weight = 1, .new_chunk = true});
    } else {
      add_text(c);
      ++at_;
    }
  }

  void add_text(char c) {
    if (runs_.empty()) runs_.push_back({});
    runs_.back().text += c;
  }

  bool is_open(char bracket) const {
    for (const Opening& opening : openings_) {
      if (opening.bracket == bracket) return true;
    }
    return false;
  }

  /// Brackets that were opened since and are not closed remain as text.
  void close(char bracket, double weight) {
    while (openings_.back().bracket != bracket) openings_.pop_back();
    const size_t begin = openings_.back().run;
    openings_.pop_back();
    runs_[begin].text.clear();
    for (size_t i = begin; i < runs_.size(); ++i) runs_[i].weight *= weight;
    runs_.push_back({});
  }

  /// `:1.3)` at this place, spaces allowed around the number; steps behind it.
  std::optional<double> explicit_weight() {
    const auto skip_spaces = [&](size_t at) {
      while (at < prompt_.size() && is_space(prompt_[at])) ++at;
      return at;
    };
    size_t at = skip_spaces(at_ + 1);
    if (at < prompt_.size() && prompt_[at] == '+') ++at;
    double weight = 0;
    const char* end = prompt_.data() + prompt_.size();
    const auto [stop, error] =
        std::from_chars(prompt_.data() + at, end, weight, std::chars_format::fixed);
    if (error != std::errc() || !(std::abs(weight) <= kLargestWeight)) return std::nullopt;
    at = skip_spaces(static_cast<size_t>(stop - prompt_.data()));
    if (at >= prompt_.size() || prompt_[at] != ')') return std::nullopt;
    at_ = at + 1;
    return weight;
  }

  bool at_break() const {
    if (!prompt_.substr(at_).starts_with(kBreak)) return false;
    const size_t after = at_ + kBreak.size();
    return (at_ == 0 || !is_word(prompt_[at_ - 1])) &&
           (after == prompt_.size() || !is_word(prompt_[after]));
  }

  std::vector<PromptRun> merged() const {
    std::vector<PromptRun> merged;
    for (const PromptRun& run : runs_) {
      if (run.text.empty() && !run.new_chunk) continue;
      if (!merged.empty() && !run.new_chunk && merged.back().weight == run.weight) {
        merged.back().text += run.text;
      } else {
        merged.push_back(run);
      }
    }
    return merged;
  }

  std::string_view prompt_;
  size_t at_ = 0;
  std::vector<PromptRun> runs_;
  std::vector<Opening> openings_;
};

}  // namespace

std::vector<PromptRun> parse_prompt(std::string_view prompt) {
  return PromptParser(prompt).parse();
}

}  // namespace kessoku::model
