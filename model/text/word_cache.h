#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace kessoku::model {

/// The ids of words that came before. Bounded: of words that fall on the same place the first stays
/// for ever, and long words are not kept. Safe for concurrent use, without locks.
class WordCache {
 public:
  WordCache();
  WordCache(const WordCache&) = delete;
  ~WordCache();

  /// Appends the ids of `word`; false if it is not here.
  bool find(std::string_view word, std::vector<int64_t>& ids) const;
  /// Keeps them, where there is room.
  void add(std::string_view word, const int64_t* ids, size_t count);

 private:
  static constexpr size_t kPlaces = 1 << 15;
  static constexpr size_t kLongestWord = 24;  // bytes
  static constexpr size_t kMostIds = 6;

  struct Entry {
    uint8_t length, count;
    char word[kLongestWord];
    int32_t ids[kMostIds];
  };
  using Place = std::atomic<const Entry*>;

  static size_t place_of(std::string_view word);
  std::unique_ptr<Place[]> places_;
};

}  // namespace kessoku::model
