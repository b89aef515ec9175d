#include "data/captions/caption_edit.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace kessoku::data {
namespace {

bool in_word(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  const unsigned char lower = value | 0x20;
  return (lower >= 'a' && lower <= 'z') || (value >= '0' && value <= '9') || value == '_' ||
         value >= 0x80;
}

// Whether a word goes on across the gap before `place`.
bool joined(std::string_view text, size_t place) {
  return place > 0 && place < text.size() && in_word(text[place - 1]) && in_word(text[place]);
}

std::string rename_word(const std::string& caption, const std::string& from,
                        const std::string& to) {
  std::string result;
  size_t copied = 0;
  for (size_t place = caption.find(from); place != std::string::npos;) {
    const size_t end = place + from.size();
    if (joined(caption, place) || joined(caption, end)) {
      place = caption.find(from, place + 1);
      continue;
    }
    result.append(caption, copied, place - copied).append(to);
    copied = end;
    place = caption.find(from, end);
  }
  return result.append(caption, copied);
}

// Drawing one after another in proportion to weights is to sort by exponential times of these rates
// (Efraimidis and Spirakis, 2006).
void shuffle_by_weight(std::span<CaptionPart> tags, RandomStream& random) {
  std::vector<std::pair<double, CaptionPart>> times;
  for (CaptionPart& tag : tags) {
    const double time = -std::log1p(-random.uniform());
    times.emplace_back(tag.weight > 0 ? time / tag.weight : HUGE_VAL, std::move(tag));
  }
  std::ranges::stable_sort(times, {}, &std::pair<double, CaptionPart>::first);
  for (size_t i = 0; i < tags.size(); ++i) tags[i] = std::move(times[i].second);
}

size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

void cut(std::vector<CaptionPart>& parts, size_t longest) {
  size_t length = characters(parts[0].text), kept = 1;
  for (; kept < parts.size() && length < longest; ++kept)
    length += 2 + characters(parts[kept].text);  // after ", "
  parts.resize(kept);
}

}  // namespace

std::string rename_words(std::string caption,
                         const std::vector<std::pair<std::string, std::string>>& renames) {
  for (const auto& [from, to] : renames) {
    if (!from.empty()) caption = rename_word(caption, from, to);
  }
  return caption;
}

std::vector<CaptionPart> shuffle_tags(std::vector<CaptionPart> parts, uint32_t longest,
                                      RandomStream random) {
  const std::span tags = std::span(parts).subspan(1);
  if (std::ranges::adjacent_find(tags, std::ranges::not_equal_to{}, &CaptionPart::weight) ==
      tags.end()) {
    for (size_t left = tags.size(); left > 1; --left)
      std::swap(tags[left - 1], tags[random.below(left)]);
  } else {
    shuffle_by_weight(tags, random);
  }
  if (longest > 0) cut(parts, longest);
  return parts;
}

}  // namespace kessoku::data
