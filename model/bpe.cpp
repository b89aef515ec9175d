#include "model/bpe.h"

#include <queue>
#include <tuple>

#include "base/error.h"

namespace kessoku::model {

namespace {

constexpr std::string_view kEndOfWord = "</w>";

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

std::string two_byte_utf8(uint32_t code_point) {
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

/// GPT-2's table: printable Latin-1 characters stand for themselves, the other bytes are U+0100,
/// U+0101, …
std::array<std::string, 256> byte_symbols() {
  std::array<std::string, 256> symbols;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (byte >= '!' && byte <= '~') {
      symbols[byte] = std::string(1, static_cast<char>(byte));
    } else if (byte >= 0xA1 && byte != 0xAD) {
      symbols[byte] = two_byte_utf8(byte);
    } else {
      symbols[byte] = two_byte_utf8(next++);
    }
  }
  return symbols;
}

using IdOfPiece = std::unordered_map<std::string_view, int32_t>;

int32_t find_id(const IdOfPiece& ids, std::string_view piece, const std::string& where) {
  const auto found = ids.find(piece);
  if (found == ids.end()) {
    throw DataError(fmt::format("{}: the vocabulary lacks the piece \"{}\"", where, piece));
  }
  return found->second;
}

}  // namespace

Bpe::Bpe(std::vector<std::string> pieces,
         const std::vector<std::pair<std::string, std::string>>& merges, const std::string& where)
    : pieces_(std::move(pieces)) {
  IdOfPiece ids;
  ids.reserve(pieces_.size());
  for (size_t id = 0; id < pieces_.size(); ++id) ids.emplace(pieces_[id], static_cast<int32_t>(id));
  const auto symbols = byte_symbols();
  for (size_t byte = 0; byte < symbols.size(); ++byte) {
    byte_ids_[byte] = find_id(ids, symbols[byte], where);
    last_byte_ids_[byte] = find_id(ids, symbols[byte] + std::string(kEndOfWord), where);
  }
  start_id_ = find_id(ids, kStart, where);
  end_id_ = find_id(ids, kEnd, where);

  merges_.reserve(merges.size());
  merge_of_pair_.reserve(merges.size());
  for (const auto& [left, right] : merges) {
    const std::pair pair(find_id(ids, left, where), find_id(ids, right, where));
    const Merge merge{static_cast<int32_t>(merges_.size()), find_id(ids, left + right, where)};
    if (!merge_of_pair_.emplace(pair_key(pair.first, pair.second), merge).second) {
      throw DataError(
          fmt::format("{}: the merge \"{} {}\" stands there twice", where, left, right));
    }
    merges_.push_back(pair);
  }
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const auto found = merge_of_pair_.find(pair_key(left, right));
  return found == merge_of_pair_.end() ? nullptr : &found->second;
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  // A linked list of pieces and a heap of candidate pairs: n log n, so that a caption of one
  // endless word is no trap.
  struct Piece {
    int32_t id, previous, next;  // id −1: merged into the piece before it
  };
  const auto length = static_cast<int32_t>(word.size());
  std::vector<Piece> list(word.size());
  for (int32_t i = 0; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(word[i]);
    const bool last = i + 1 == length;
    list[i] = {last ? last_byte_ids_[byte] : byte_ids_[byte], i - 1, last ? -1 : i + 1};
  }

  using Candidate = std::tuple<int32_t, int32_t, int32_t>;  // rank, place of the left piece, result
  std::vector<Candidate> storage;
  storage.reserve(word.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates(
      {}, std::move(storage));
  const auto consider = [&](int32_t place) {
    if (place < 0 || list[place].next < 0) return;
    const Merge* merge = find_merge(list[place].id, list[list[place].next].id);
    if (merge != nullptr) candidates.emplace(merge->rank, place, merge->result);
  };
  for (int32_t i = 0; i + 1 < length; ++i) consider(i);
  while (!candidates.empty()) {
    const auto [rank, place, result] = candidates.top();
    candidates.pop();
    Piece& left = list[place];
    if (left.id < 0 || left.next < 0) continue;
    Piece& right = list[left.next];
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->rank != rank) continue;  // one of the two has changed since
    left.id = result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) list[left.next].previous = place;
    consider(left.previous);
    consider(place);
  }
  for (int32_t i = 0; i >= 0 && i < length; i = list[i].next) ids.push_back(list[i].id);
}

}  // namespace kessoku::model
