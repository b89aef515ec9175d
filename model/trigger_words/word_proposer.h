#pragma once

#include <optional>
#include <string>

#include "model/trigger_words/word_embedding.h"

namespace kessoku::model {

/// A word that could be a trigger word: one rare token, which no other trigger word contains.
struct ProposedWord {
  std::string word;
  std::string nearest;    ///< of the others and the most common words; empty without an encoder
  double similarity = 0;  ///< to that
};

/// Proposes trigger words beside others, the best first.
class WordProposer {
 public:
  /// `words` are taken already; `ids` are their tokens.
  WordProposer(const std::vector<std::string>& words, const std::vector<WordIds>& ids,
               const Tokenizer& tokenizer);

  /// From now on the best is what is farthest from all others, those already proposed included;
  /// before, the rarest. `places` are the words' in `space`.
  void use_encoder(const at::Tensor& places, WordSpace& space);
  /// The next one; nothing if the vocabulary has no more.
  std::optional<ProposedWord> take();

 private:
  std::string text_of(int64_t id) const;
  void bring_in(const Cosines& cosines, size_t count);

  const Tokenizer& tokenizer_;
  std::vector<std::string> others_;
  WordIds whole_;       // tokens that are words, the most frequent first
  WordIds candidates_;  // rare ones
  std::optional<Cosines> to_each_other_;
  std::vector<std::pair<double, size_t>> nearest_;  // of a candidate: cosine, place in others_
  size_t given_ = 0;
};

}  // namespace kessoku::model
