#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kessoku::model {

/// Byte-pair encoding over a fixed vocabulary in CLIP's fashion: bytes stand as printable
/// characters ("Ġ" is a space's), and the last piece of a word ends in "</w>". Immutable after
/// construction: safe for concurrent use.
class Bpe {
 public:
  static constexpr std::string_view kStart = "<|startoftext|>";
  static constexpr std::string_view kEnd = "<|endoftext|>";

  /// `pieces` by id; `merges` by rank, each as two pieces. Throws DataError, naming `where`, on a
  /// piece or merge that does not fit.
  Bpe(std::vector<std::string> pieces,
      const std::vector<std::pair<std::string, std::string>>& merges, const std::string& where);

  /// Appends the ids of `word`, any bytes but none at all. The pair of lowest rank is merged first,
  /// the leftmost among equals.
  void encode(std::string_view word, std::vector<int64_t>& ids) const;

  const std::vector<std::string>& pieces() const { return pieces_; }
  const std::vector<std::pair<int32_t, int32_t>>& merges() const { return merges_; }
  int64_t start_id() const { return start_id_; }
  int64_t end_id() const { return end_id_; }

 private:
  struct Merge {
    int32_t left, right;  // left −1: a free place
    int32_t rank;
    int32_t result;
  };
  static size_t place_of(int32_t left, int32_t right);
  bool add_merge(const Merge& merge);
  const Merge* find_merge(int32_t left, int32_t right) const;
  int32_t first_id(std::string_view word, size_t at) const;
  void encode_short(std::string_view word, std::vector<int64_t>& ids) const;
  void encode_long(std::string_view word, std::vector<int64_t>& ids) const;

  std::vector<std::string> pieces_;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::vector<Merge> table_;                // open addressing; a power of two, at most half full
  std::array<int32_t, 256> byte_ids_;       ///< of a byte inside a word
  std::array<int32_t, 256> last_byte_ids_;  ///< of a word's last byte
  int32_t start_id_;
  int32_t end_id_;
};

}  // namespace kessoku::model
