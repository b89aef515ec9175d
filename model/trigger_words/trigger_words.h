#pragma once

#include <optional>
#include <string>

#include "model/trigger_words/word_proposer.h"

namespace kessoku::model {

/// Two trigger words beside each other.
struct WordPair {
  /// What an encoder makes of them.
  struct InEncoder {
    double similarity;  ///< cosine; 0: unrelated, 1: the same
    double unrelated;   ///< what 999 of 1000 pairs of unrelated words of these lengths stay below
    /// More than halfway from unrelated words to the same one.
    bool near_equal() const { return similarity > (1 + unrelated) / 2; }
  };

  size_t a, b;    ///< places in the list of words
  size_t shared;  ///< tokens that both have, in the same order
  size_t tokens;  ///< of the longer one
  std::optional<InEncoder> encoder;

  bool shares_tokens() const { return 3 * shared >= 2 * tokens; }  ///< two thirds of them
  bool near_equal() const { return encoder && encoder->near_equal(); }
  bool collides() const { return shares_tokens() || near_equal(); }
};

/// A word to use instead of one that collides.
struct Proposal {
  size_t instead_of;  ///< place in the list of words
  ProposedWord word;
};

struct TriggerWordReport {
  std::vector<WordPair> pairs;  ///< those that collide first, then the most similar
  std::vector<Proposal> proposals;
};

/// Compares all pairs of `words` by their tokens and, unless `encoder` is null, by where they stand
/// in it (WordSpace); proposes words for the second one of each pair that collides. Throws
/// UsageError if a word has no token or more than 16.
TriggerWordReport compare_trigger_words(const std::vector<std::string>& words,
                                        const Tokenizer& tokenizer, const TextEncoder* encoder);

/// Words of `captions` that look made up to be trigger words: the vocabulary lacks them or they end
/// in a number, and they stand in at least 3 captions and 1 in 200. The most frequent first, at
/// most 40.
std::vector<std::string> find_trigger_words(const std::vector<std::string>& captions,
                                            const Tokenizer& tokenizer);

}  // namespace kessoku::model
