#include "model/text/word_cache.h"

#include <algorithm>
#include <functional>

namespace kessoku::model {

WordCache::WordCache() : places_(std::make_unique<Place[]>(kPlaces)) {}

WordCache::~WordCache() {
  for (size_t i = 0; i < kPlaces; ++i) delete places_[i].load(std::memory_order_relaxed);
}

size_t WordCache::place_of(std::string_view word) {
  return std::hash<std::string_view>()(word) & (kPlaces - 1);
}

bool WordCache::find(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.size() > kLongestWord) return false;
  const Entry* entry = places_[place_of(word)].load(std::memory_order_acquire);
  if (entry == nullptr || std::string_view(entry->word, entry->length) != word) return false;
  ids.insert(ids.end(), entry->ids, entry->ids + entry->count);
  return true;
}

void WordCache::add(std::string_view word, const int64_t* ids, size_t count) {
  if (word.size() > kLongestWord || count > kMostIds) return;
  Place& place = places_[place_of(word)];
  if (place.load(std::memory_order_relaxed) != nullptr) return;
  auto entry = std::make_unique<Entry>();
  entry->length = static_cast<uint8_t>(word.size());
  entry->count = static_cast<uint8_t>(count);
  std::ranges::copy(word, entry->word);
  for (size_t i = 0; i < count; ++i) entry->ids[i] = static_cast<int32_t>(ids[i]);
  const Entry* expected = nullptr;
  if (place.compare_exchange_strong(expected, entry.get(), std::memory_order_release,
                                    std::memory_order_relaxed)) {
    entry.release();
  }
}

}  // namespace kessoku::model
