#include "model/trigger_words/word_embedding.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/error.h"
#include "base/random.h"

namespace kessoku::model {

namespace {

constexpr int64_t kUnrelated = 96;  // words of each length, in two halves
constexpr double kBelow = 0.999;    // of the pairs of unrelated words
constexpr size_t kBatch = 64;       // words that go through the encoder at once
constexpr std::string_view kEndOfWord = "</w>";

at::Tensor unit(const at::Tensor& x) { return x / x.square().sum(1, true).sqrt().clamp_min(1e-12); }

}  // namespace

Cosines::Cosines(const at::Tensor& a, const at::Tensor& b)
    : values_(a.matmul(b.t()).contiguous()) {}

double Cosines::operator()(size_t row_of_a, size_t row_of_b) const {
  return values_
      .const_data_ptr<float>()[row_of_a * static_cast<size_t>(values_.size(1)) + row_of_b];
}

WordIds find_letter_pieces(const Tokenizer& tokenizer, bool ends_word, size_t shortest,
                           size_t longest) {
  WordIds ids;
  for (int64_t id = 0; id < tokenizer.size(); ++id) {
    std::string_view letters = tokenizer.piece(id);
    const bool ends = letters.ends_with(kEndOfWord);
    if (ends) letters.remove_suffix(kEndOfWord.size());
    if (ends == ends_word && letters.size() >= shortest && letters.size() <= longest &&
        std::ranges::all_of(letters, [](char c) { return c >= 'a' && c <= 'z'; }))
      ids.push_back(id);
  }
  return ids;
}

WordSpace::WordSpace(const Tokenizer& tokenizer, const TextEncoder& encoder)
    : tokenizer_(tokenizer),
      encoder_(encoder),
      beginnings_(find_letter_pieces(tokenizer, false, 2, 8)),
      endings_(find_letter_pieces(tokenizer, true, 2, 8)) {
  if (tokenizer.size() > encoder.config().vocab_size) {
    throw DataError(fmt::format("the tokenizer has {} pieces, but the text encoder knows {}",
                                tokenizer.size(), encoder.config().vocab_size));
  }
  if (beginnings_.empty() || endings_.empty())
    throw DataError("the tokenizer's vocabulary has no words to compare with");
}

at::Tensor WordSpace::place(const std::vector<WordIds>& words) {
  return unit(encode(words) - unrelated(words.front().size()).mean);
}

double WordSpace::unrelated_below(size_t length_a, size_t length_b) {
  const auto key = std::minmax(length_a, length_b);
  const auto known = below_.find(key);
  if (known != below_.end()) return known->second;
  const at::Tensor a = unrelated(key.first).units.narrow(0, 0, kUnrelated / 2);
  const at::Tensor b = unrelated(key.second).units.narrow(0, kUnrelated / 2, kUnrelated / 2);
  const at::Tensor cosines = a.matmul(b.t()).contiguous();
  std::vector<float> sorted(cosines.const_data_ptr<float>(),
                            cosines.const_data_ptr<float>() + cosines.numel());
  std::ranges::sort(sorted);
  return below_[key] = sorted[static_cast<size_t>(kBelow * static_cast<double>(sorted.size()))];
}

/// (N, D). The encoder looks back only: what would follow the end does not matter.
at::Tensor WordSpace::encode(const std::vector<WordIds>& words) const {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(words.front().size()) + 2;
  std::vector<at::Tensor> means;
  for (size_t begin = 0; begin < words.size(); begin += kBatch) {
    const size_t end = std::min(begin + kBatch, words.size());
    const at::Tensor ids = at::empty({static_cast<int64_t>(end - begin), length}, at::kLong);
    int64_t* place = ids.mutable_data_ptr<int64_t>();
    for (size_t i = begin; i < end; ++i) {
      *place++ = tokenizer_.start_id();
      place = std::ranges::copy(words[i], place).out;
      *place++ = tokenizer_.end_id();
    }
    means.push_back(encoder_.forward(ids).narrow(1, 1, length - 1).to(at::kFloat).mean(1));
  }
  return at::cat(means);
}

const WordSpace::Unrelated& WordSpace::unrelated(size_t length) {
  const auto known = unrelated_.find(length);
  if (known != unrelated_.end()) return known->second;
  std::vector<WordIds> words(kUnrelated);
  uint64_t counter = length << 32;
  const auto any_of = [&](const WordIds& pieces) {
    return pieces[mix_bits(++counter) % pieces.size()];
  };
  for (WordIds& word : words) {
    for (size_t i = 0; i + 1 < length; ++i) word.push_back(any_of(beginnings_));
    word.push_back(any_of(endings_));
  }
  const at::Tensor states = encode(words);
  const at::Tensor mean = states.mean(0, true);
  return unrelated_[length] = {mean, unit(states - mean)};
}

}  // namespace kessoku::model
