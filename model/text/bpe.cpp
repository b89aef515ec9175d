#include "model/text/bpe.h"

#include <bit>
#include <queue>
#include <tuple>
#include <unordered_map>

#include "base/error.h"
#include "base/json_fields.h"

namespace kessoku::model {

namespace {

constexpr std::string_view kEndOfWord = "</w>";

/// Bytes of the longest word whose merges are looked for by walking over all pairs.
constexpr size_t kShortWord = 32;

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
    throw DataError(fmt::format("{}: the vocabulary lacks the piece {}", where, in_quotes(piece)));
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
  table_.resize(std::bit_ceil(2 * merges.size() + 2), {-1, 0, 0, 0});
  for (const auto& [left, right] : merges) {
    const std::pair pair(find_id(ids, left, where), find_id(ids, right, where));
    const auto rank = static_cast<int32_t>(merges_.size());
    if (!add_merge({pair.first, pair.second, rank, find_id(ids, left + right, where)})) {
      throw DataError(
          fmt::format("{}: the merge {} stands there twice", where, in_quotes(left + ' ' + right)));
    }
    merges_.push_back(pair);
  }
}

size_t Bpe::place_of(int32_t left, int32_t right) {
  const uint64_t key =
      static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  return static_cast<size_t>((key * 0x9E3779B97F4A7C15) >> 32);
}

/// False if the pair is there already.
bool Bpe::add_merge(const Merge& merge) {
  if (find_merge(merge.left, merge.right) != nullptr) return false;
  size_t place = place_of(merge.left, merge.right) & (table_.size() - 1);
  while (table_[place].left >= 0) place = (place + 1) & (table_.size() - 1);
  table_[place] = merge;
  return true;
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  size_t place = place_of(left, right) & (table_.size() - 1);
  for (; table_[place].left >= 0; place = (place + 1) & (table_.size() - 1)) {
    if (table_[place].left == left && table_[place].right == right) return &table_[place];
  }
  return nullptr;
}

int32_t Bpe::first_id(std::string_view word, size_t at) const {
  const auto byte = static_cast<uint8_t>(word[at]);
  return at + 1 == word.size() ? last_byte_ids_[byte] : byte_ids_[byte];
}

void Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.size() <= kShortWord) {
    encode_short(word, ids);
  } else {
    encode_long(word, ids);
  }
}

void Bpe::encode_short(std::string_view word, std::vector<int64_t>& ids) const {
  std::array<int32_t, kShortWord> pieces;
  std::array<const Merge*, kShortWord> merges;  // of a piece and the next; nullptr: none
  size_t count = word.size();
  for (size_t i = 0; i < count; ++i) pieces[i] = first_id(word, i);
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = find_merge(pieces[i], pieces[i + 1]);
  while (count > 1) {
    size_t best = count;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (merges[i] != nullptr && (best == count || merges[i]->rank < merges[best]->rank)) best = i;
    }
    if (best == count) break;
    pieces[best] = merges[best]->result;
    std::copy(pieces.data() + best + 2, pieces.data() + count, pieces.data() + best + 1);
    std::copy(merges.data() + best + 1, merges.data() + count - 1, merges.data() + best);
    --count;
    if (best + 1 < count) merges[best] = find_merge(pieces[best], pieces[best + 1]);
    if (best > 0) merges[best - 1] = find_merge(pieces[best - 1], pieces[best]);
  }
  ids.insert(ids.end(), pieces.begin(), pieces.begin() + static_cast<ptrdiff_t>(count));
}

/// A linked list of pieces and a heap of candidate pairs: n log n, so that a caption of one endless
/// word is no trap.
void Bpe::encode_long(std::string_view word, std::vector<int64_t>& ids) const {
  struct Piece {
    int32_t id, previous, next;  // id −1: merged into the piece before it
  };
  const auto length = static_cast<int32_t>(word.size());
  std::vector<Piece> list(word.size());
  for (int32_t i = 0; i < length; ++i) {
    list[i] = {first_id(word, static_cast<size_t>(i)), i - 1, i + 1 == length ? -1 : i + 1};
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
