#pragma once

#include <nlohmann/json.hpp>

#include "model/trigger_words/trigger_words.h"

namespace kessoku::launcher {

/// Pieces of a word stand together, words apart: "bo·cchi hitori".
std::string join_pieces(const std::vector<std::string_view>& pieces);

/// What `tokens --compare --json` prints: {"words": [{"word", "ids", "pieces"}], "pairs": [{"a",
/// "b", "shared_tokens", "tokens", "similarity", "unrelated", "collides"}], "proposals":
/// [{"instead_of", "word", "nearest", "similarity"}]}; what an encoder says is null without one.
nlohmann::json describe_words(const std::vector<std::string>& words,
                              const model::Tokenizer& tokenizer,
                              const model::TriggerWordReport& report);

/// The same for a person: all words and proposals, and the pairs that are the most similar.
void print_words(const std::vector<std::string>& words, const model::Tokenizer& tokenizer,
                 const model::TriggerWordReport& report);

/// A line for each pair that collides.
std::vector<std::string> warnings_of(const std::vector<std::string>& words,
                                     const model::TriggerWordReport& report);

}  // namespace kessoku::launcher
