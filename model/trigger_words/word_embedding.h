#pragma once

#include <map>
#include <vector>

#include "model/networks/text_encoder.h"
#include "model/text/tokenizer.h"

namespace kessoku::model {

using WordIds = std::vector<int64_t>;  ///< of a word's pieces, without start and end

/// Ids of pieces that are whole words (`ends_word`) or their beginnings, of `shortest` to `longest`
/// lower-case letters, in the vocabulary's order: the most frequent first.
WordIds find_letter_pieces(const Tokenizer& tokenizer, bool ends_word, size_t shortest,
                           size_t longest);

/// Where words stand in a text encoder. A word is encoded alone; it stands for the mean of the
/// states of its pieces and of the end, less the mean over unrelated words of as many pieces (drawn
/// from the vocabulary by a fixed seed). A pure function of model and words.
class WordSpace {
 public:
  /// Throws DataError if the encoder does not know all of the tokenizer's pieces, or the vocabulary
  /// has no words.
  WordSpace(const Tokenizer& tokenizer, const TextEncoder& encoder);

  /// Unit vectors (N, D), f32, of words that all have as many pieces; the product of two is the
  /// cosine of the angle between them.
  at::Tensor place(const std::vector<WordIds>& words);
  /// The cosine that 999 of 1000 pairs of unrelated words of these lengths stay below.
  double unrelated_below(size_t length_a, size_t length_b);

 private:
  struct Unrelated {
    at::Tensor mean;   // (1, D)
    at::Tensor units;  // (words, D)
  };
  at::Tensor encode(const std::vector<WordIds>& words) const;
  const Unrelated& unrelated(size_t length);

  const Tokenizer& tokenizer_;
  const TextEncoder& encoder_;
  WordIds beginnings_, endings_;
  std::map<size_t, Unrelated> unrelated_;
  std::map<std::pair<size_t, size_t>, double> below_;
};

/// Cosines between the rows of two lists of unit vectors (N, D).
class Cosines {
 public:
  Cosines(const at::Tensor& a, const at::Tensor& b);
  double operator()(size_t row_of_a, size_t row_of_b) const;

 private:
  at::Tensor values_;
};

}  // namespace kessoku::model
