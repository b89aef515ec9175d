#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kessoku::model {

/// A stretch of a prompt whose pieces all weigh the same.
struct PromptRun {
  std::string text;
  double weight = 1;
  bool new_chunk = false;  ///< BREAK stood before it

  bool operator==(const PromptRun&) const = default;
};

/// Reads the weights of a prompt in the syntax that A1111's web UI made common:
///
///     (word)        weight × 1.1; nested, ((word)) × 1.21
///     [word]        weight ÷ 1.1
///     (word:1.3)    weight × 1.3
///     \( \) \[ \] \\   the characters themselves
///     BREAK         what follows begins a new chunk
///
/// A bracket without its counterpart is text, and so is a weight that is no number within ±100:
/// there are no malformed prompts. Neighbors of equal weight are one run; an empty prompt has
/// none.
std::vector<PromptRun> parse_prompt(std::string_view prompt);

}  // namespace kessoku::model
