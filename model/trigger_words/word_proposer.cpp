#include "model/trigger_words/word_proposer.h"

#include <algorithm>
#include <set>

namespace kessoku::model {

namespace {

constexpr size_t kCandidates = 512;  // rare words that could be proposed
constexpr size_t kCommon = 512;      // words that a proposal must be far from

/// Evenly spread over the last quarter of the vocabulary's words.
WordIds find_candidates(const WordIds& whole, const std::vector<WordIds>& words) {
  std::set<int64_t> taken;
  for (const WordIds& word : words) taken.insert(word.begin(), word.end());
  WordIds rare(whole.begin() + static_cast<ptrdiff_t>(whole.size() / 4 * 3), whole.end());
  std::erase_if(rare, [&](int64_t id) { return taken.contains(id); });
  if (rare.size() <= kCandidates) return rare;
  WordIds thinned;
  for (size_t i = 0; i < kCandidates; ++i) thinned.push_back(rare[i * rare.size() / kCandidates]);
  return thinned;
}

std::vector<WordIds> one_token_words(const WordIds& ids) {
  std::vector<WordIds> words;
  for (const int64_t id : ids) words.push_back({id});
  return words;
}

}  // namespace

WordProposer::WordProposer(const std::vector<std::string>& words, const std::vector<WordIds>& ids,
                           const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      others_(words),
      whole_(find_letter_pieces(tokenizer, true, 4, 6)),
      candidates_(find_candidates(whole_, ids)) {}

void WordProposer::use_encoder(const at::Tensor& places, WordSpace& space) {
  if (candidates_.empty()) return;
  const at::Tensor own = space.place(one_token_words(candidates_));
  to_each_other_.emplace(own, own);
  nearest_.assign(candidates_.size(), {-2, 0});
  bring_in(Cosines(own, places), others_.size());
  const WordIds common(whole_.begin(), whole_.begin() + static_cast<ptrdiff_t>(
                                                            std::min(kCommon, whole_.size() / 2)));
  if (common.empty()) return;
  for (const int64_t id : common) others_.push_back(text_of(id));
  bring_in(Cosines(own, space.place(one_token_words(common))), common.size());
}

std::optional<ProposedWord> WordProposer::take() {
  if (given_ == candidates_.size()) return std::nullopt;
  ++given_;
  if (!to_each_other_) return ProposedWord{text_of(candidates_[candidates_.size() - given_]), ""};
  const auto best = static_cast<size_t>(std::ranges::min_element(nearest_) - nearest_.begin());
  const auto [similarity, nearest] = nearest_[best];
  ProposedWord proposal{text_of(candidates_[best]), others_[nearest], similarity};
  others_.push_back(proposal.word);
  for (size_t i = 0; i < candidates_.size(); ++i)
    nearest_[i] = std::max(nearest_[i], {(*to_each_other_)(i, best), others_.size() - 1});
  return proposal;
}

std::string WordProposer::text_of(int64_t id) const {
  const std::string_view piece = tokenizer_.piece(id);
  return std::string(piece.substr(0, piece.size() - std::string_view("</w>").size()));
}

/// The last `count` others.
void WordProposer::bring_in(const Cosines& cosines, size_t count) {
  for (size_t i = 0; i < candidates_.size(); ++i) {
    for (size_t k = 0; k < count; ++k)
      nearest_[i] = std::max(nearest_[i], {cosines(i, k), others_.size() - count + k});
  }
}

}  // namespace kessoku::model
