#include "model/trigger_words/trigger_words.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"

namespace kessoku::model {

namespace {

constexpr size_t kMostTokens = 16;
constexpr size_t kProposals = 3;  // for a word
constexpr size_t kMostFound = 40;

size_t longest_common_subsequence(const WordIds& a, const WordIds& b) {
  std::vector<size_t> row(b.size() + 1, 0);
  for (const int64_t id : a) {
    size_t diagonal = 0;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = id == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

std::vector<WordIds> encode_words(const std::vector<std::string>& words,
                                  const Tokenizer& tokenizer) {
  std::vector<WordIds> all;
  for (const std::string& word : words) {
    all.push_back(tokenizer.encode(word));
    if (all.back().empty() || all.back().size() > kMostTokens) {
      throw UsageError(fmt::format("\"{}\" has {} tokens; a trigger word has 1 to {}", word,
                                   all.back().size(), kMostTokens));
    }
  }
  return all;
}

at::Tensor place_words(const std::vector<WordIds>& words, WordSpace& space) {
  std::vector<at::Tensor> places;
  for (const WordIds& word : words) places.push_back(space.place({word}));
  return at::cat(places);
}

std::vector<WordPair> compare_pairs(const std::vector<WordIds>& words, const at::Tensor& places,
                                    WordSpace* space) {
  std::optional<Cosines> cosines;
  if (space != nullptr) cosines.emplace(places, places);
  std::vector<WordPair> pairs;
  for (size_t b = 1; b < words.size(); ++b) {
    for (size_t a = 0; a < b; ++a) {
      WordPair& pair =
          pairs.emplace_back(WordPair{a, b, longest_common_subsequence(words[a], words[b]),
                                      std::max(words[a].size(), words[b].size()), std::nullopt});
      if (space != nullptr)
        pair.encoder = {(*cosines)(a, b), space->unrelated_below(words[a].size(), words[b].size())};
    }
  }
  std::ranges::stable_sort(pairs, std::greater<>(), [](const WordPair& pair) {
    const double shared = static_cast<double>(pair.shared) / static_cast<double>(pair.tokens);
    return std::pair(pair.collides(), pair.encoder ? pair.encoder->similarity : shared);
  });
  return pairs;
}

bool looks_made_up(const std::string& word, const Tokenizer& tokenizer) {
  const auto is_ascii = [](char c, int (*test)(int)) {
    return test(static_cast<unsigned char>(c)) != 0;
  };
  const WordIds ids = tokenizer.encode(word);
  if (ids.empty() || ids.size() > kMostTokens) return false;
  const bool numbered = is_ascii(word.front(), std::isalpha) && is_ascii(word.back(), std::isdigit);
  return numbered || std::ranges::any_of(
                         ids, [&](int64_t id) { return !tokenizer.piece(id).ends_with("</w>"); });
}

}  // namespace

TriggerWordReport compare_trigger_words(const std::vector<std::string>& words,
                                        const Tokenizer& tokenizer, const TextEncoder* encoder) {
  TriggerWordReport report;
  if (words.empty()) return report;
  const std::vector<WordIds> ids = encode_words(words, tokenizer);
  std::optional<WordSpace> space;
  if (encoder != nullptr) space.emplace(tokenizer, *encoder);
  const at::Tensor places = space ? place_words(ids, *space) : at::Tensor();
  report.pairs = compare_pairs(ids, places, space ? &*space : nullptr);

  std::set<size_t> instead_of;
  for (const WordPair& pair : report.pairs) {
    if (pair.collides()) instead_of.insert(pair.b);
  }
  if (instead_of.empty()) return report;
  WordProposer proposer(words, ids, tokenizer);
  if (space) proposer.use_encoder(places, *space);
  for (const size_t word : instead_of) {
    for (size_t i = 0; i < kProposals; ++i) {
      if (auto proposal = proposer.take()) report.proposals.push_back({word, std::move(*proposal)});
    }
  }
  return report;
}

std::vector<std::string> find_trigger_words(const std::vector<std::string>& captions,
                                            const Tokenizer& tokenizer) {
  std::map<std::string, size_t> captions_with;
  for (const std::string& caption : captions) {
    std::set<std::string> seen;
    for (size_t begin = 0; begin < caption.size();) {
      const size_t end =
          std::min(caption.find_first_of(" \t\r\n,.;:!?()[]{}\"", begin), caption.size());
      if (end > begin) seen.insert(caption.substr(begin, end - begin));
      begin = end + 1;
    }
    for (const std::string& word : seen) ++captions_with[word];
  }
  const size_t least = std::max<size_t>(3, captions.size() / 200);
  std::vector<std::pair<size_t, std::string>> found;
  for (const auto& [word, count] : captions_with) {
    if (count >= least && looks_made_up(word, tokenizer)) found.emplace_back(count, word);
  }
  std::ranges::stable_sort(found, std::greater<>(), &std::pair<size_t, std::string>::first);
  std::vector<std::string> words;
  for (size_t i = 0; i < std::min(found.size(), kMostFound); ++i) words.push_back(found[i].second);
  return words;
}

}  // namespace kessoku::model
